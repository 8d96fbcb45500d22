import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mupwd.paths import named_leaves
from mupwd.proxy.config import ProxyConfig
from mupwd.proxy.model import Llama, initial_std, next_token_loss, rotate

TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 64, (3, 12)), jnp.int32)
CONFIG = ProxyConfig(vocab_size=64)


def build(width=64, **fields):
    return Llama(width, dataclasses.replace(CONFIG, **fields), nnx.Rngs(0))


def parameters(model):
    return {path: np.asarray(leaf) for path, leaf in named_leaves(nnx.state(model, nnx.Param)).items()}


def reference_logits(params, config, tokens):
    """The model in float64 numpy, one head at a time, from its published description."""
    p = {path: leaf.astype(np.float64) for path, leaf in params.items()}

    def norm(x, scale):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_eps) * scale

    def rope(x):
        T, C = x.shape
        turned = (x[:, : C // 2] + 1j * x[:, C // 2 :]) * np.exp(
            1j * np.arange(T)[:, None] * config.rope_theta ** (-np.arange(C // 2) * 2 / C)[None]
        )
        return np.concatenate([turned.real, turned.imag], -1)

    def softmax(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    logits = []
    for row in np.asarray(tokens):
        x = p["embedding"][row]
        for i in range(config.layers):
            layer = f"layers/{i}"
            h = norm(x, p[f"{layer}/attention_norm/scale"])
            q, k, v = (h @ p[f"{layer}/attention/{name}/kernel"] for name in "qkv")
            C = config.head_dim
            groups = q.shape[1] // k.shape[1]
            heads = []
            for head in range(q.shape[1] // C):
                mine, shared = (
                    slice(head * C, head * C + C),
                    slice(head // groups * C, head // groups * C + C),
                )
                query, key = q[:, mine], k[:, shared]
                if config.qk_norm:
                    query = norm(query, p[f"{layer}/attention/q_norm/scale"])
                    key = norm(key, p[f"{layer}/attention/k_norm/scale"])
                scores = rope(query) @ rope(key).T / math.sqrt(C)
                scores[np.triu_indices(len(row), 1)] = -np.inf
                heads.append(softmax(scores) @ v[:, shared])
            x = x + np.concatenate(heads, -1) @ p[f"{layer}/attention/o/kernel"]
            h = norm(x, p[f"{layer}/mlp_norm/scale"])
            gate, up = h @ p[f"{layer}/mlp/gate/kernel"], h @ p[f"{layer}/mlp/up/kernel"]
            x = x + (gate / (1 + np.exp(-gate)) * up) @ p[f"{layer}/mlp/down/kernel"]
        x = norm(x, p["norm/scale"])
        logits.append(x @ (p["embedding"].T if config.tied else p["readout/kernel"]))
    return np.stack(logits)


@pytest.mark.parametrize(
    "fields",
    [{}, {"kv_groups": 2}, {"kv_heads": 1, "qk_norm": True}, {"tied": True}],
    ids=["plain", "grouped", "one-kv-head-qk-norm", "tied"],
)
def test_logits_equal_a_plain_numpy_model(fields):
    model = build(**fields)
    params = parameters(model)
    # Gains of 1 would hide a gain at the wrong place.
    rng = np.random.default_rng(1)
    gains = {
        path: rng.uniform(0.5, 1.5, leaf.shape) for path, leaf in params.items() if path.endswith("scale")
    }
    state = nnx.state(model, nnx.Param)
    for path, gain in gains.items():
        node = state
        for key in path.split("/"):
            node = node[int(key) if key.isdigit() else key]
        node[...] = jnp.asarray(gain, jnp.float32)
    nnx.update(model, state)
    expected = reference_logits({**params, **gains}, model.config, TOKENS)
    np.testing.assert_allclose(model(TOKENS), expected, rtol=0, atol=2e-4)


def test_parameter_names_and_shapes():
    shapes = {
        path: leaf.shape for path, leaf in parameters(build(kv_heads=1, qk_norm=True, layers=1)).items()
    }
    assert shapes == {
        "embedding": (64, 64),
        "layers/0/attention/k/kernel": (64, 16),
        "layers/0/attention/k_norm/scale": (16,),
        "layers/0/attention/o/kernel": (64, 64),
        "layers/0/attention/q/kernel": (64, 64),
        "layers/0/attention/q_norm/scale": (16,),
        "layers/0/attention/v/kernel": (64, 16),
        "layers/0/attention_norm/scale": (64,),
        "layers/0/mlp/down/kernel": (192, 64),
        "layers/0/mlp/gate/kernel": (64, 192),
        "layers/0/mlp/up/kernel": (64, 192),
        "layers/0/mlp_norm/scale": (64,),
        "norm/scale": (64,),
        "readout/kernel": (64, 64),
    }


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_initial_values_have_the_stated_standard_deviation(scan, tied):
    model = build(128, scan=scan, tied=tied, vocab_size=256)
    for path, leaf in parameters(model).items():
        if path.endswith("scale"):
            assert (leaf == initial_std(path, leaf.shape, tied)).all()
        else:
            assert leaf.std() == pytest.approx(initial_std(path, leaf.shape, tied), rel=0.05), path


def test_scanned_layers_compute_what_unrolled_ones_do():
    unrolled, scanned = build(), build(scan=True)
    params = parameters(unrolled)
    state = nnx.to_pure_dict(nnx.state(scanned, nnx.Param))

    def pick(path, leaf):
        name = "/".join(key.key for key in path)
        if not name.startswith("layers/"):
            return jnp.asarray(params[name])
        return jnp.stack([params[name.replace("layers/", f"layers/{i}/")] for i in range(2)])

    nnx.update(scanned, jax.tree_util.tree_map_with_path(pick, state))
    np.testing.assert_allclose(scanned(TOKENS), unrolled(TOKENS), rtol=0, atol=1e-5)


def test_bfloat16_is_near_float32_and_parameters_stay_float32():
    model = build(dtype="bfloat16")
    assert {leaf.dtype.name for leaf in parameters(model).values()} == {"float32"}
    logits = model(TOKENS)
    assert logits.dtype == jnp.float32
    difference = np.abs(logits - build()(TOKENS))
    assert 0 < difference.max() < 0.2


def test_no_position_sees_a_later_one():
    model = build()
    changed = TOKENS.at[:, 7].set((TOKENS[:, 7] + 1) % 64)
    before, after = np.asarray(model(TOKENS)), np.asarray(model(changed))
    assert (before[:, :7] == after[:, :7]).all()
    assert (before[:, 7:] != after[:, 7:]).any(axis=-1).all()


def test_rotary_products_depend_on_distance_only():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 16))
    at_every_position = [rotate(jnp.tile(x, (1, 1, 10, 1)), 100.0)[0, 0] for x in (q, k)]
    scores = np.asarray(at_every_position[0] @ at_every_position[1].T)
    for distance in range(-9, 10):
        diagonal = np.diagonal(scores, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-5)
    assert abs(scores[0, 0] - scores[0, 5]) > 1e-3


def test_loss_is_the_mean_cross_entropy():
    logits = jax.random.normal(jax.random.key(0), (2, 5, 7)) * 3
    targets = jnp.asarray([[0, 1, 2, 3, 4], [6, 5, 4, 3, 2]], jnp.int32)
    probabilities = np.exp(np.asarray(logits, np.float64))
    probabilities /= probabilities.sum(-1, keepdims=True)
    picked = [probabilities[b, t, targets[b, t]] for b in range(2) for t in range(5)]
    assert float(next_token_loss(logits, targets)) == pytest.approx(-np.log(picked).mean(), rel=1e-6)
