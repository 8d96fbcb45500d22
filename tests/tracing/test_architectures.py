"""Pieces of known architectures, as people write them: what their parameters are."""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.programs import said

import mupwd

BASE, HEAD_DIM, BATCH, LENGTH, VOCABULARY = 64, 16, 2, 8, 20
TOKENS = np.zeros((BATCH, LENGTH), np.int32)
FEATURES = np.zeros((BATCH, LENGTH, 6), np.float32)
MATRIX, INPUT, OUTPUT, VECTOR = "matrix: in out", "input: lookup out", "output: in out", "vector: elementwise"

MODELS = {}


def model(shapes, **expected):
    """A plain program between an embedding and a readout."""

    def add(forward):
        def build(width):
            all_shapes = {"embedding": (VOCABULARY, width), **shapes(width), "readout": (width, VOCABULARY)}

            def fn(params, tokens):
                return forward(params, params["embedding"][tokens]) @ params["readout"]

            return fn, {name: jnp.ones(shape) for name, shape in all_shapes.items()}

        MODELS[forward.__name__] = (build, {"embedding": INPUT, **expected, "readout": OUTPUT})
        return forward

    return add


def heads(x):
    return x.reshape(*x.shape[:2], -1, HEAD_DIM)


def attend(q, k, v, bias=0.0):
    logits = jnp.einsum("bthk,bshk->bhts", q, k) / np.float32(HEAD_DIM**0.5) + bias
    return jnp.einsum("bhts,bshk->bthk", jax.nn.softmax(logits), v).reshape(*q.shape[:2], -1)


@model(
    lambda d: {
        "in": (d, 4 * d),
        "conv": (4, 2 * d),
        "select": (2 * d, d // 16 + 32),
        "step": (d // 16, 2 * d),
        "step_bias": (2 * d,),
        "decay": (2 * d, 16),
        "skip": (2 * d,),
        "out": (2 * d, d),
    },
    **{"in": "matrix: in stack+out"},
    conv="vector: stack elementwise",
    select=MATRIX,
    step=MATRIX,
    step_bias=VECTOR,
    decay="vector: elementwise out",
    skip=VECTOR,
    out=MATRIX,
)
def mamba(params, x):
    y, z = jnp.split(x @ params["in"], 2, axis=-1)
    padded = jnp.pad(y, ((0, 0), (3, 0), (0, 0)))
    y = jax.nn.silu(sum(padded[:, i : i + LENGTH] * params["conv"][i][None, None] for i in range(4)))
    rank = params["step"].shape[0]
    step, b, c = jnp.split(y @ params["select"], [rank, rank + 16], axis=-1)
    step = jax.nn.softplus(step @ params["step"] + params["step_bias"][None, None])
    decay = jnp.exp(step[..., None] * -jnp.exp(params["decay"])[None, None])
    update = (step * y)[..., None] * b[:, :, None, :]
    combine = lambda left, right: (left[0] * right[0], left[1] * right[0] + right[1])  # noqa: E731
    _, states = jax.lax.associative_scan(combine, (decay, update), axis=1)
    y = jnp.einsum("btdn,btn->btd", states, c) + y * params["skip"][None, None]
    return x + (y * jax.nn.silu(z)) @ params["out"]


@model(
    lambda d: {
        "mix": (d,),
        "bonus": (d // HEAD_DIM, HEAD_DIM),
        "decay": (d // HEAD_DIM, HEAD_DIM),
        **dict.fromkeys("rkvo", (d, d)),
        "low": (d, 8),
        "high": (8, d),
        "gain": (d,),
    },
    mix=VECTOR,
    bonus="vector: elementwise elementwise",
    decay="vector: elementwise elementwise",
    **dict.fromkeys("rkvo", MATRIX),
    low="narrow: in out",
    high="wide: in out",
    gain=VECTOR,
)
def rwkv(params, x):
    before = jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    mix = params["mix"][None, None]
    mixed = x * mix + before * (1 - mix)
    r, k, v = (heads(mixed @ params[name]) for name in "rkv")
    shift = heads(jnp.tanh(mixed @ params["low"]) @ params["high"])
    decay = jnp.exp(-jnp.exp(params["decay"][None, None] + shift))

    def step(state, now):
        r, k, v, decay = now
        new = k[..., :, None] * v[..., None, :]
        out = jnp.einsum("bhk,bhkv->bhv", r, state + params["bonus"][None, :, :, None] * new)
        return state * decay[..., None] + new, out

    rows = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), (r, k, v, decay))
    _, y = jax.lax.scan(step, jnp.zeros((BATCH, r.shape[2], HEAD_DIM, HEAD_DIM)), rows)
    y = jnp.moveaxis(y, 0, 1)
    y = (y - y.mean(-1, keepdims=True)) * jax.lax.rsqrt(y.var(-1, keepdims=True) + 1e-5)
    return x + (y.reshape(x.shape) * params["gain"][None, None]) @ params["o"]


@model(
    lambda d: {**dict.fromkeys("qkv", (d, d // HEAD_DIM, HEAD_DIM)), "relative": (32, d // HEAD_DIM)},
    **dict.fromkeys("qkv", "matrix: in out out"),
    relative="input: lookup elementwise",
)
def relative_positions_and_soft_capping(params, x):
    q, k, v = (jnp.einsum("btd,dhk->bthk", x, params[name]) for name in "qkv")
    distance = jnp.arange(LENGTH)[:, None] - jnp.arange(LENGTH)[None]
    bias = params["relative"][jnp.clip(distance + 16, 0, 31)].transpose(2, 0, 1)[None]
    logits = 30 * jnp.tanh((jnp.einsum("bthk,bshk->bhts", q, k) + bias) / 30)
    logits = jnp.where((distance >= 0)[None, None] & (distance < 4)[None, None], logits, -1e9)
    return x + jnp.einsum("bhts,bshk->bthk", jax.nn.softmax(logits), v).reshape(x.shape)


@model(lambda d: {"q": (d, d), "kv": (d, 2, 2, HEAD_DIM)}, q=MATRIX, kv="narrow: in stack out out")
def grouped_queries_by_repeating_heads(params, x):
    q, (k, v) = heads(x @ params["q"]), jnp.einsum("btd,dehk->ebthk", x, params["kv"])
    repeat = q.shape[2] // 2
    return x + attend(q, jnp.repeat(k, repeat, axis=2), jnp.repeat(v, repeat, axis=2))


@model(lambda d: {"fused": (d, 11 * d), "out": (5 * d, d)}, fused=MATRIX, out=MATRIX)
def parallel_attention_and_mlp_in_one_kernel(params, x):
    d = x.shape[-1]
    q, k, v, gate, up = jnp.split(x @ params["fused"], [d, 2 * d, 3 * d, 7 * d], axis=-1)
    y = attend(heads(q), heads(k), heads(v))
    return x + jnp.concatenate([y, jax.nn.silu(gate) * up], axis=-1) @ params["out"]


@model(lambda d: {"router": (d, 1), "up": (d, d)}, router="narrow: in out", up=MATRIX)
def mixture_of_depths(params, x):
    weight, chosen = jax.lax.top_k((x @ params["router"])[..., 0], 3)
    rows = jnp.take_along_axis(x, chosen[..., None], axis=1)
    y = jax.nn.relu(rows @ params["up"]) * jax.nn.sigmoid(weight)[..., None]
    return jax.vmap(lambda x, at, y: x.at[at].add(y))(x, chosen, y)


@model(lambda d: {"shared": (d, d), "gain": (3, d)}, shared=MATRIX, gain="vector: stack elementwise")
def one_layer_many_times(params, x):
    step = lambda x, gain: (x + jnp.tanh((x * gain[None, None]) @ params["shared"]), None)  # noqa: E731
    return jax.lax.scan(step, x, params["gain"])[0]


@model(
    lambda d: {"w": (d, d // HEAD_DIM, HEAD_DIM), "source": (d // HEAD_DIM, HEAD_DIM)},
    w="matrix: in out out",
    source="vector: elementwise in",
)
def graph_attention(params, x):
    h = jnp.einsum("btd,dhk->bthk", x, params["w"])
    score = jnp.einsum("bthk,hk->bth", h, params["source"])
    weights = jax.nn.softmax(jax.nn.leaky_relu(score[:, :, None] + score[:, None]), axis=2)
    return jnp.einsum("btsh,bshk->bthk", weights, h).reshape(x.shape)


@model(lambda d: {"keys": (d, 50), "values": (50, d)}, keys="narrow: in out", values="wide: in out")
def memory_layer(params, x):
    return x + jax.nn.softmax(x @ params["keys"]) @ params["values"]


class Diffusion(nn.Module):
    """A DiT block: patches, a fixed table of frequencies for time, labels, adaLN."""

    width: int

    @nn.compact
    def __call__(self, image, time, label):
        d = self.width
        x = nn.Conv(d, (4, 4), strides=4, name="patch")(image).reshape(BATCH, 4, d)
        x = x + self.param("positions", nn.initializers.normal(), (1, 4, d))
        angles = time[:, None] * np.exp(-np.arange(32) / 4).astype(np.float32)[None]
        time = nn.Dense(d, name="time")(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1))
        c = nn.silu(time + nn.Embed(11, d, name="label")(label))
        shift, scale, gate = jnp.split(nn.Dense(3 * d, name="modulation")(c)[:, None], 3, axis=-1)
        y = nn.LayerNorm(use_scale=False, use_bias=False)(x) * (1 + scale) + shift
        x = x + gate * nn.MultiHeadDotProductAttention(d // HEAD_DIM, use_bias=False, name="attention")(y, y)
        return nn.Dense(48, name="final")(x)


class Convolutions(nn.Module):
    """A ConvNeXt block with global response normalisation, then a U-Net's way up with its skip."""

    width: int

    @nn.compact
    def __call__(self, x):
        d = self.width
        x = skip = nn.Conv(d, (3, 3), name="stem")(x)
        x = nn.gelu(nn.Conv(d, (3, 3), feature_group_count=d, name="depthwise")(nn.LayerNorm(name="norm")(x)))
        x = nn.Dense(4 * d, name="up")(x)
        size = jnp.linalg.norm(x, axis=(1, 2), keepdims=True)
        response = self.param("response", nn.initializers.ones, (4 * d,))
        x = x + response[None, None, None] * (x * size / (size.mean(-1, keepdims=True) + 1e-6))
        x = nn.Conv(2 * d, (2, 2), strides=2, name="down")(nn.GroupNorm(8, name="groups")(x))
        x = nn.ConvTranspose(d, (2, 2), strides=(2, 2), name="transposed")(x)
        return nn.Conv(3, (1, 1), name="out")(jnp.concatenate([x, skip], axis=-1))


class Library(nnx.Module):
    """flax.nnx's own layers."""

    def __init__(self, d, rngs):
        self.embedding = nnx.Embed(VOCABULARY, d, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(d // HEAD_DIM, d, use_bias=False, decode=False, rngs=rngs)
        self.batch_norm = nnx.BatchNorm(d, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.lora = nnx.LoRA(d, 4, d, base_module=nnx.Linear(d, d, use_bias=False, rngs=rngs), rngs=rngs)
        self.rnn = nnx.RNN(nnx.SimpleCell(d, d, rngs=rngs))
        self.readout = nnx.Linear(d, 3, rngs=rngs)

    def __call__(self, tokens):
        x = self.embedding(tokens)
        x = self.batch_norm(x + self.dropout(self.attention(x)))
        return self.readout(self.rnn(x + self.lora(x)).mean(1))


class Equinox(eqx.Module):
    """equinox's own layers, one example at a time."""

    embedding: eqx.nn.Embedding
    attention: eqx.nn.MultiheadAttention
    norm: eqx.nn.LayerNorm
    cell: eqx.nn.LSTMCell
    conv: eqx.nn.Conv1d
    readout: eqx.nn.Linear

    def __init__(self, d):
        keys = jax.random.split(jax.random.key(0), 5)
        self.embedding = eqx.nn.Embedding(VOCABULARY, d, key=keys[0])
        self.attention = eqx.nn.MultiheadAttention(d // HEAD_DIM, d, key=keys[1])
        self.norm = eqx.nn.LayerNorm(d)
        self.cell = eqx.nn.LSTMCell(d, d, key=keys[2])
        self.conv = eqx.nn.Conv1d(d, d, 3, padding=1, use_bias=False, key=keys[3])
        self.readout = eqx.nn.Linear(d, 3, key=keys[4])

    def __call__(self, tokens):
        x = jax.vmap(self.embedding)(tokens)
        y = jax.vmap(self.norm)(x)
        x = x + self.attention(y, y, y)
        step = lambda state, x: (self.cell(x, state),) * 2  # noqa: E731
        _, (x, _) = jax.lax.scan(step, (jnp.zeros_like(x[0]),) * 2, x)
        return self.readout(self.conv(x.T).mean(1))


def haiku(width):
    def forward(tokens):
        x = hk.Embed(VOCABULARY, width, name="embedding")(tokens)
        initial = hk.initializers.VarianceScaling()
        attention = hk.MultiHeadAttention(
            width // HEAD_DIM, HEAD_DIM, model_size=width, w_init=initial, with_bias=False, name="attention"
        )
        y = hk.LayerNorm(-1, True, False, name="norm")(x)
        core = hk.LSTM(width, name="core")
        x, _ = hk.dynamic_unroll(core, x + attention(y, y, y), core.initial_state(BATCH), time_major=False)
        return hk.Linear(3, name="readout")(x[:, -1])

    return hk.transform(forward)


LIBRARIES = {
    "diffusion": (
        Diffusion,
        (np.zeros((BATCH, 8, 8, 3), np.float32), np.zeros(BATCH, np.float32), np.zeros(BATCH, np.int32)),
        {
            "patch/kernel": "input: in in in out",
            "positions": "input: elementwise elementwise elementwise",
            "time/kernel": "input: in out",
            "label/embedding": INPUT,
            "modulation/kernel": "matrix: in stack+out",
            "modulation/bias": VECTOR,
            "attention/query/kernel": "matrix: in out out",
            "attention/out/kernel": "matrix: in in out",
            "final/kernel": OUTPUT,
            "final/bias": "scalar: elementwise",
        },
    ),
    "convolutions": (
        Convolutions,
        (np.zeros((BATCH, 8, 8, 3), np.float32),),
        {
            "stem/kernel": "input: in in in out",
            "depthwise/kernel": "vector: in in in elementwise",
            "norm/scale": VECTOR,
            "up/kernel": MATRIX,
            "response": VECTOR,
            "groups/scale": VECTOR,
            "down/kernel": "matrix: in in in out",
            "transposed/kernel": "matrix: in in in out",
            "out/kernel": "output: in in in out",
        },
    ),
    "nnx": (
        lambda width: Library(width, nnx.Rngs(0)),
        (TOKENS,),
        {
            "embedding/embedding": INPUT,
            "attention/query/kernel": "matrix: in out out",
            "attention/out/kernel": "matrix: in in out",
            "batch_norm/scale": VECTOR,
            "lora/base_module/kernel": MATRIX,
            "lora/lora_a": "narrow: in out",
            "lora/lora_b": "wide: in out",
            "rnn/cell/dense_h/kernel": MATRIX,
            "readout/kernel": OUTPUT,
        },
    ),
    "equinox": (
        Equinox,
        (TOKENS,),
        {
            "embedding/weight": INPUT,
            "attention/query_proj/weight": "matrix: out in",
            "norm/weight": VECTOR,
            "cell/weight_ih": "matrix: stack+out in",
            "cell/bias": VECTOR,
            "conv/weight": "matrix: out in in",
            "readout/weight": "output: out in",
        },
    ),
    "haiku": (
        haiku,
        (TOKENS,),
        {
            "embedding/embeddings": INPUT,
            "attention%2Fquery/w": MATRIX,
            "attention%2Flinear/w": MATRIX,
            "norm/scale": VECTOR,
            "core%2Flinear/w": "matrix: in stack+out",
            "readout/w": OUTPUT,
        },
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_plain(name):
    build, expected = MODELS[name]
    assert said(mupwd.family(build, base=BASE, inputs=(TOKENS,))) == dict(sorted(expected.items()))


@pytest.mark.parametrize("name", LIBRARIES)
def test_layers_of_a_library(name):
    build, inputs, expected = LIBRARIES[name]
    call = (lambda model, tokens: jax.vmap(model)(tokens)) if name == "equinox" else None
    # Libraries promote ranks and dtypes as they like.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        found = said(mupwd.family(build, base=BASE, inputs=inputs, call=call))
    assert {path: found[path] for path in expected} == expected
