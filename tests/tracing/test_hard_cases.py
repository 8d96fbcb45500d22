"""Programs that are easy to read wrongly: each decided, or refused with a message that says what to write."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.programs import BATCH, Cases, said, suggestion

import mupwd

cases = Cases()
LENGTH, EXPERTS, HEAD_DIM = 5, 4, 16
TOKENS = np.zeros((BATCH, LENGTH), np.int32)


# A batch axis of dot_general.


@cases.decided(lambda d: {"gate": (d,)}, gate="vector: elementwise")
def channels_as_batch_axis_of_einsum(params, x):
    return jnp.einsum("bd,d->bd", x, params["gate"])


@cases.decided(lambda d: {"filter": (3, d)}, (BATCH, 3), filter="vector: in elementwise")
def depthwise_einsum(params, x, window):
    return jnp.einsum("bkd,kd->bd", window[:, :, None] * x[:, None, :], params["filter"])


@cases.refused("experts", "dot_general", lambda d: {"experts": (d // HEAD_DIM, HEAD_DIM, HEAD_DIM)})
def growing_experts(params, x):
    x = x.reshape(BATCH, -1, HEAD_DIM)
    y = jnp.einsum("bef,efg->beg", x, params["experts"])  # here
    return y.reshape(BATCH, -1)


# A copy axis that comes out free.


@cases.decided(lambda d: {"up": (d, EXPERTS, d)}, up="matrix: in out out")
def experts_in_the_middle(params, x):
    return jax.nn.relu(jnp.einsum("td,def->etf", x, params["up"])).sum(0)


@cases.decided(lambda d: {"qkv": (3, d, d)}, qkv="matrix: stack in out")
def leading_fused_axis(params, x):
    q, k, v = jnp.einsum("td,edf->etf", x, params["qkv"])
    return q * jnp.tanh(k) + v


@cases.decided(lambda d: {"w": (EXPERTS, d, d)}, w="matrix: stack in out")
def vmap_over_weights_with_a_shared_input(params, x):
    return jax.nn.relu(jax.vmap(lambda w: x @ w)(params["w"])).sum(0)


@cases.refused("w", "dot_general", lambda d: {"w": (d // HEAD_DIM, HEAD_DIM, HEAD_DIM)})
def vmap_over_growing_weights(params, x):
    x = x.reshape(BATCH, -1, HEAD_DIM)
    y = jax.vmap(lambda x, w: x @ w, in_axes=(1, 0), out_axes=1)(x, params["w"])  # here
    return y.reshape(BATCH, -1)


# A product, and a product that is summed.


@cases.decided(lambda d: {"w": (d,)}, w="output: in")
def product_then_sum(params, x):
    return (x * params["w"][None]).sum(-1)


@cases.decided(lambda d: {"w": (d,)}, w="vector: elementwise")
def product_then_a_norm(params, x):
    y = x * params["w"][None]
    return y - y.mean(-1, keepdims=True)


@cases.refused("w", "mul", lambda d: {"w": (d,)})
def product_summed_and_also_used_as_it_is(params, x):
    y = x * params["w"][None]  # here
    return y.sum(-1), y @ params["last"]


@cases.decided(lambda d: {"w": (d,)}, w="vector: elementwise")
def product_whose_mean_is_logged(params, x):
    y = x * params["w"][None]
    return jnp.mean(y), y @ params["last"]


# A parameter with a parameter.


@cases.refused("latents", "dot_general", lambda d: {"latents": (5, d), "query": (d, d), "key": (d, d)})
def learned_queries(params, x):
    queries = params["latents"] @ params["query"]
    return jax.nn.softmax((x @ params["key"]) @ queries.T) @ jnp.ones((5, 2))  # here


@cases.refused("a", "dot_general", lambda d: {"frozen": (d, d), "a": (d, 4), "b": (4, d)})
def merged_lora(params, x):
    return x @ (params["frozen"] + params["a"] @ params["b"])  # here


@cases.refused("u", "dot_general", lambda d: {"u": (d,), "v": (d,)})
def outer_product(params, x):
    return x @ (params["u"][:, None] * params["v"][None, :])  # here


@cases.decided(lambda d: {"a": (d, 4), "b": (4, d)}, a="narrow: in out", b="wide: in out")
def one_factor_after_the_other(params, x):
    return (x @ params["a"]) @ params["b"]


# Tokens that are not data.


@cases.decided(lambda d: {"token": (d,), "mix": (d, d)}, token="input: elementwise", mix="matrix: in out")
def class_token(params, x):
    x = jnp.concatenate([jnp.broadcast_to(params["token"], (1, x.shape[1])), x], axis=0)
    return jax.nn.relu(x @ params["mix"])


@cases.decided(lambda d: {"prefix": (2, d), "key": (d, d)}, prefix="input: elementwise elementwise")
def prefix_tokens(params, x):
    prefix = jnp.tile(params["prefix"][None], (BATCH, 1, 1))
    joined = jnp.concatenate([prefix, x[:, None, :]], axis=1)
    return (joined @ params["key"]).mean(1)


@cases.decided(lambda d: {"mask": (d,)}, (BATCH,), mask="input: elementwise")
def mask_token(params, x, masked):
    return jnp.where(masked[:, None] > 0, params["mask"][None], x)


@cases.decided(lambda d: {"state": (d,), "w": (d, d)}, state="input: elementwise", w="matrix: in out")
def learned_initial_state(params, x):
    step = lambda state, row: (jnp.tanh(state @ params["w"] + row), None)  # noqa: E731
    return jax.lax.scan(step, params["state"][None], x[:, None])[0]


@cases.refused("latents", "add", lambda d: {"latents": (5, d), "query": (d, d)})
def latents_that_meet_a_kernel_before_data(params, x):
    latents = jnp.broadcast_to(params["latents"][None], (BATCH, 5, x.shape[1]))
    return x + jax.nn.relu(latents @ params["query"]).mean(1)  # here


# Stacks, slices, sampled softmax.


@cases.decided(
    lambda d: {"layers": (3, d, d), "bias": (3, d)},
    layers="matrix: stack in out",
    bias="vector: stack elementwise",
)
def stack_indexed_by_a_loop_counter(params, x):
    return jax.lax.fori_loop(
        0, 3, lambda i, x: jnp.tanh(x @ params["layers"][i] + params["bias"][i][None]), x
    )


@cases.decided(lambda d: {"layers": (3, d, d)}, np.int32(0), layers="matrix: stack in out")
def stack_indexed_by_an_input(params, x, layer):
    return x @ jax.lax.dynamic_index_in_dim(params["layers"], layer, keepdims=False)


@cases.refused("layers", "dot_general", lambda d: {"layers": (d // HEAD_DIM, d, d)})
def growing_stack(params, x):
    return x @ params["layers"][0]  # here


@cases.decided(
    lambda d: {"embedding": (9, d), "classes": (50, d)},
    TOKENS,
    np.zeros((BATCH, 7), np.int32),
    inner=False,
    embedding="input: lookup out",
    classes="output: lookup in",
)
def sampled_softmax(params, tokens, sampled):
    x = jnp.tanh(params["embedding"][tokens].mean(1))
    return jnp.einsum("bd,bsd->bs", x, params["classes"][sampled])


@cases.decided(
    lambda d: {"embedding": (50, d)},
    TOKENS,
    np.zeros((BATCH, 7), np.int32),
    inner=False,
    embedding="tied: lookup out",
)
def tied_sampled_softmax(params, tokens, sampled):
    x = jnp.tanh(params["embedding"][tokens].mean(1))
    return jnp.einsum("bd,bsd->bs", x, params["embedding"][sampled])


@cases.refused("embedding", "dot_general", lambda d: {"embedding": (9, d), "up": (d, d)}, TOKENS, inner=False)
def rows_used_as_activation_and_as_weights(params, tokens):
    rows = params["embedding"][tokens]
    return jnp.einsum("btd,bd->bt", rows, jnp.tanh(rows.mean(1) @ params["up"]))  # here


@cases.refused("left", "gather", lambda d: {"left": (9, d), "right": (9, d)}, TOKENS, TOKENS, inner=False)
def rows_of_two_lookups(params, left, right):
    rows = params["left"][left]  # here
    return jnp.einsum("btd,bsd->bts", rows, params["right"][right])


@cases.refused("w", "dot_general", lambda d: {"w": (d + 6, d)}, (BATCH, 6))
def pieces_of_one_parameter_with_different_roles(params, x, more):
    return x @ params["w"][:-6] + more @ params["w"][-6:]  # here


@cases.decided(lambda d: {"w": (2 * d, d)}, w="matrix: in out")
def pieces_of_one_parameter_with_one_role(params, x):
    half = x.shape[1]
    return jnp.tanh(x) @ params["w"][:half] + x @ params["w"][half:]


@cases.decided(
    lambda d: {"q": (d, d), "k": (d, HEAD_DIM), "out": (HEAD_DIM, d)},
    q="matrix: in out",
    k="narrow: in out",
    out="wide: in out",
)
def kernels_joined_at_the_call(params, x):
    y = x @ jnp.concatenate([params["q"], params["k"]], axis=1)
    q, k = y[:, : x.shape[1]], y[:, x.shape[1] :]
    return q + jnp.tanh(k) @ params["out"]


# One-hot embeddings, regularisers, constants.


@cases.decided(lambda d: {"embedding": (9, d)}, TOKENS, inner=False, embedding="input: in out")
def one_hot_embedding(params, tokens):
    return jnp.tanh(jax.nn.one_hot(tokens, 9) @ params["embedding"])


@cases.decided(
    lambda d: {"w": (d, d), "gain": (d,), "free": (d, d)},
    w="matrix: in out",
    gain="vector: elementwise",
    free="unused: unused unused",
)
def regularisers_and_logs(params, x):
    y = (x * params["gain"][None]) @ params["w"]
    gram = params["w"].T @ params["w"]
    decay = sum((w**2).sum() for w in params.values())
    norms = {path: jnp.linalg.norm(w) for path, w in params.items()}
    penalty = 1e-4 * decay + ((gram - jnp.eye(len(gram))) ** 2).sum() + jnp.abs(params["w"]).max()
    loss = ((y @ params["last"]) ** 2).mean() + penalty * x.mean()
    return loss, {"logits": y @ params["last"], "norms": norms, "weights": params["w"]}


@cases.refused("book", "sub", lambda d: {"book": (7, d)})
def norm_that_is_more_than_a_log(params, x):
    scores = x @ params["book"].T
    return scores - (params["book"] ** 2).sum(-1)[None]  # here


# Weights that something happens to first.


@cases.decided(lambda d: {"v": (d, d), "g": (d,)}, v="matrix: in out", g="vector: elementwise")
def weight_norm(params, x):
    return x @ (params["v"] / jnp.linalg.norm(params["v"], axis=0, keepdims=True) * params["g"][None])


@cases.decided(lambda d: {"w": (d, d)}, w="matrix: in out")
def standardised_weight(params, x):
    w = params["w"] - params["w"].mean(0, keepdims=True)
    return x @ (w * jax.lax.rsqrt(jnp.var(w, axis=0, keepdims=True) + 1e-6))


@cases.decided(lambda d: {"w": (d, d)}, w="matrix: in out")
def quantised_weight(params, x):
    scale = jnp.abs(params["w"]).max() / 127
    return x @ ((params["w"] / scale).astype(jnp.int8).astype(jnp.float32) * scale)


@cases.decided(lambda d: {"gain": (d,)}, gain="vector: elementwise")
def one_plus_gain(params, x):
    return x * (1 + params["gain"])[None]


@cases.decided(lambda d: {"sink": (d // HEAD_DIM,)}, sink="input: elementwise")
def attention_sink(params, x):
    logits = jnp.einsum("bhk,shk->hbs", *2 * [jnp.tanh(x).reshape(BATCH, -1, HEAD_DIM)])
    sink = jnp.broadcast_to(params["sink"][:, None, None], (*logits.shape[:2], 1))
    weights = jax.nn.softmax(jnp.concatenate([logits, sink], axis=-1))[..., :-1]
    return jnp.einsum("hbs,shk->bhk", weights, x.reshape(BATCH, -1, HEAD_DIM)).reshape(x.shape)


@cases.decided(lambda d: {"table": (BATCH, d)}, table="input: elementwise elementwise")
def position_table(params, x):
    return x + params["table"]


@cases.decided(lambda d: {"out": (d, 9), "bias": (9,)}, out="output: in out", bias="scalar: elementwise")
def logit_bias(params, x):
    return x @ params["out"] + params["bias"][None]


@cases.decided(lambda d: {"cos": (BATCH, d), "sin": (BATCH, d)}, cos="vector: elementwise elementwise")
def rotary_tables(params, x):
    a, b = jnp.split(x, 2, axis=1)
    return x * params["cos"] + jnp.concatenate([-b, a], axis=1) * params["sin"]


@cases.decided(lambda d: {"gate": (), "w": (d, d)}, gate="scalar:", w="matrix: in out")
def scalar_gate(params, x):
    return x + jnp.tanh(params["gate"]) * (x @ params["w"])


@cases.decided(
    lambda d: {"w": (d, d), "log_std": (2,)}, w="unused: unused unused", log_std="scalar: elementwise"
)
def never_used_and_only_returned(params, x):
    return x @ params["last"], params["log_std"]


@cases.refused("token", "return", lambda d: {"token": (d,)})
def only_returned_though_it_grows(params, x):
    return x @ params["last"], params["token"]


# Weights that data masks or modulates: a gain, by structure, or not.


@cases.refused("w", "mul", lambda d: {"w": (d, d)}, np.float32(0))
def weight_times_a_number_from_data(params, x, scale):
    return x @ (params["w"] * scale)  # here


@cases.refused("w", "div", lambda d: {"w": (d, d)}, np.float32(1))
def weight_over_a_number_from_data(params, x, norm):
    return x @ (params["w"] / norm)  # here


@cases.refused("v", "select_n", lambda d: {"w": (d, d), "v": (d, d)}, np.float32(0))
def weight_chosen_by_data(params, x, scale):
    return x @ jnp.where(scale > 0, params["w"], params["v"])  # here


@cases.refused("w", "select_n", lambda d: {"w": (d, d)}, np.zeros(2, np.uint32))
def weight_dropped_at_random(params, x, key):
    return x @ jnp.where(jax.random.bernoulli(key, 0.5, params["w"].shape), params["w"], 0)  # here


@cases.refused("w", "mul", lambda d: {"w": (3, d, d)})
def modulated_convolution(params, x):
    kernels = params["w"][None] * x[:, None, :, None]  # here
    convolve = lambda x, w: jax.lax.conv_general_dilated(  # noqa: E731
        x[None], w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
    )[0]
    return jax.vmap(convolve)(jnp.stack([x] * 5, axis=1), kernels).mean(1)


@cases.decided(lambda d: {"q": (d, d), "gain": (d,)}, gain="vector: elementwise")
def gain_on_queries(params, x):
    q = ((x @ params["q"]) * params["gain"][None]).reshape(BATCH, -1, HEAD_DIM)
    logits = jnp.einsum("bhk,shk->hbs", q, x.reshape(BATCH, -1, HEAD_DIM))
    return jnp.einsum("hbs,sd->bd", jax.nn.softmax(logits), x)


@cases.refused("experts", "dot_general", lambda d: {"experts": (EXPERTS, d, d)})
def kernels_mixed_by_data(params, x):
    kernels = jnp.einsum("be,edf->bdf", jax.nn.softmax(x[:, :EXPERTS]), params["experts"])  # here
    return jnp.einsum("bd,bdf->bf", x, kernels)


DECIDED = {name: case for name, case in cases.items() if case.refused is None}
REFUSED = {name: case for name, case in cases.items() if case.refused is not None}


@pytest.mark.parametrize("name", DECIDED)
def test_decided(name):
    case = DECIDED[name]
    found = said(case.family())
    assert {path: found[path] for path in case.expected} == case.expected


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_what_to_do(name):
    case = REFUSED[name]
    path, primitive = case.refused
    with pytest.raises(mupwd.TraceError) as caught:
        case.family()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert primitive in message
    if primitive != "return":
        assert case.line in message


@pytest.mark.parametrize("name", REFUSED)
def test_the_suggested_override_settles_it(name):
    overrides = {}
    for _ in REFUSED[name].shapes(64):
        try:
            family = REFUSED[name].family(overrides=overrides)
            break
        except mupwd.TraceError as refused:
            new = suggestion(str(refused))
            assert new.keys().isdisjoint(overrides)
            overrides |= new
    else:
        family = REFUSED[name].family(overrides=overrides)
    assert REFUSED[name].refused[0] in overrides
    assert {path: said(family)[path] for path in overrides} == overrides


def test_a_mask_that_lies_among_the_parameters_is_a_constant():
    """As in autoregressive flows; one that comes with the data modulates the weight, and is refused."""

    def masked(params, x, mask):
        return jnp.tanh(x @ jnp.where(mask, params["w"], 0)) @ params["last"]

    def build(width):
        shapes = {"first": (3, width), "w": (width, width), "last": (width, 2)}
        params = {name: jnp.ones(shape) for name, shape in shapes.items()}
        mask = jnp.arange(width)[:, None] > jnp.arange(width)[None]
        return lambda p, x: masked(p, x @ p["first"], p["mask"]), params | {"mask": mask}

    x = np.zeros((4, 3), np.float32)
    assert said(mupwd.family(build, base=64, inputs=(x,)))["w"] == "matrix: in out"

    def by_data(width):
        params = build(width)[1]
        del params["mask"]
        return lambda p, x: masked(p, y := x @ p["first"], y.T @ y > 0), params

    with pytest.raises(mupwd.TraceError, match=r"^w: is multiplied by data"):
        mupwd.family(by_data, base=64, inputs=(x,))
