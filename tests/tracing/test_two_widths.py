"""What differs between the two widths besides sizes: constants are counted in or refused, structures are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.programs import BATCH, Cases

import mupwd

cases = Cases()
SQUARE = lambda d: {"w": (d, d)}  # noqa: E731
EXPONENTS, PLAIN = {}, []


def exponent(value, shapes=SQUARE):
    """The program scales the use of `w` by `width**value`."""

    def add(forward):
        EXPONENTS[forward.__name__] = value
        return cases.decided(shapes)(forward)

    return add


def unscaled(forward):
    """The program's constants change nothing."""
    PLAIN.append(forward.__name__)
    return cases.decided(SQUARE)(forward)


@exponent(-0.5)
def on_the_product(params, x):
    return (x @ params["w"]) * x.shape[1] ** -0.5


@exponent(-0.5)
def on_the_weight(params, x):
    return x @ (params["w"] / jnp.sqrt(jnp.float32(x.shape[1])))


@exponent(-0.5)
def as_an_array(params, x):
    return (x @ params["w"]) * np.full((1, x.shape[1]), x.shape[1] ** -0.5, np.float32)


@exponent(-1)
def as_a_sum_of_ones(params, x):
    return (x @ params["w"]) / jnp.ones(x.shape[1]).sum()


@exponent(-1)
def in_two_steps_around_a_reshape(params, x):
    y = ((x @ params["w"]) / x.shape[1]).reshape(BATCH, -1, 16)
    return (y * np.float32(x.shape[1]) ** -1.5 * np.float32(x.shape[1]) ** 1.5).reshape(x.shape)


@exponent(0.5)
def rounded_to_bfloat16(params, x):
    return ((x @ params["w"]).astype(jnp.bfloat16) * jnp.bfloat16(x.shape[1] ** 0.5)).astype(jnp.float32)


@exponent(0.5, lambda d: {"w": (d, 2)})
def on_a_readout(params, x):
    return (x @ params["w"]) * x.shape[1] ** 0.5


@unscaled
def means_and_norms(params, x):
    x = x - x.sum(-1, keepdims=True) / x.shape[1]
    return (x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) / x.shape[1] + 1e-6)) @ params["w"]


@unscaled
def tables_along_an_axis_that_grows(params, x):
    frequency = 1e4 ** -(jnp.arange(float(x.shape[1])) / x.shape[1])
    return (x + jnp.sin(jnp.arange(float(BATCH))[:, None] * frequency[None])) @ params["w"]


@unscaled
def not_a_number_in_both(params, x):
    return jnp.where(jnp.isnan(x), jnp.nan, x) @ params["w"]


@pytest.mark.parametrize("name", EXPONENTS)
def test_counted_in(name):
    assert cases[name].family().parameters["w"].scale_exponent == EXPONENTS[name]


@pytest.mark.parametrize("name", PLAIN)
def test_nothing_to_count(name):
    assert cases[name].family().parameters["w"].scale_exponent == 0


ON_ACTIVATIONS = {
    "after a nonlinearity": lambda x: jnp.tanh(x) * x.shape[1] ** -0.5,
    "added": lambda x: x + 1 / x.shape[1],
    "as a threshold": lambda x: jnp.maximum(x, 1 / x.shape[1]),
    "squared": lambda x: jnp.tanh(x) * jnp.float32(x.shape[1]) ** 2,
    "of a function": lambda x: jnp.tanh(x) * jnp.log1p(jnp.float32(x.shape[1])),
    "of a sum": lambda x: jnp.tanh(x) * jnp.cumsum(jnp.ones(x.shape[1]))[-1:].sum(),
}


@pytest.mark.parametrize("where", ON_ACTIVATIONS)
def test_a_constant_of_no_known_use_is_refused(where):
    @cases.decided(SQUARE)
    def program(params, x):
        return ON_ACTIVATIONS[where](x) @ params["w"]

    with pytest.raises(
        mupwd.TraceError, match=r"constant that depends on the width.*test_two_widths\.py:\d+"
    ):
        cases["program"].family()


ON_WEIGHTS = {
    "before a nonlinearity": lambda w: jnp.tanh(w * len(w) ** 0.5),
    "as bounds": lambda w: jnp.clip(w, -1 / len(w), 1 / len(w)),
    "on one of two paths": lambda w: w + w * len(w) ** -0.5,
    "no power of the width": lambda w: w / (len(w) + 3),
    "on a half of it": lambda w: jnp.concatenate([w[: len(w) // 2] * len(w) ** -0.5, w[len(w) // 2 :]]),
    "in a product with a constant": lambda w: jnp.asarray(np.ones(w.shape, np.float32)) @ w,
}


@pytest.mark.parametrize("where", ON_WEIGHTS)
def test_a_constant_that_does_more_than_scale_a_parameter_is_refused(where):
    @cases.decided(SQUARE)
    def program(params, x):
        return x @ ON_WEIGHTS[where](params["w"])

    with pytest.raises(mupwd.TraceError, match=r"^w: .*test_two_widths\.py:\d+.*overrides=\{'w'"):
        cases["program"].family()


def test_one_path_of_two_is_refused():
    @cases.decided(SQUARE)
    def program(params, x):
        y = x @ params["w"]
        return jnp.tanh(y) + y * x.shape[1] ** -0.5

    with pytest.raises(
        mupwd.TraceError, match=r"^w: is scaled with the width on one path and not on another"
    ):
        cases["program"].family()


STRUCTURES = {
    "another operation": (
        lambda w, x: x @ (w if len(w) == 64 else jnp.tanh(w)),
        r"another structure at the second width: \w+ \(\S+\.py:\d+\) against|operations at one width and",
    ),
    "a loop over what grows": (
        lambda w, x: sum(x[:, i : i + 1] * w[i][None] for i in range(0, len(w), 32)),
        r"another structure at the second width: \w+ \(\S+\.py:\d+\) against.*loops over what grows",
    ),
    "other operands": (
        lambda w, x: (jnp.tanh(x), jnp.tanh(2 * x))[len(w) != 64] @ w,
        "reads other values",
    ),
    "another layout": (
        lambda w, x: x @ jnp.transpose(w, (0, 1) if len(w) == 64 else (1, 0)),
        "structure|permutation",
    ),
}


@pytest.mark.parametrize("what", STRUCTURES)
def test_another_program_at_the_second_width_is_refused(what):
    change, message = STRUCTURES[what]

    @cases.decided(SQUARE)
    def program(params, x):
        return change(params["w"], x)

    with pytest.raises(mupwd.TraceError, match=message):
        cases["program"].family()


def test_values_in_mutable_arrays_are_refused():
    @cases.decided(SQUARE)
    def program(params, x):
        box = jax.new_ref(jnp.zeros_like(x))
        box[...] = x
        return box[...] @ params["w"]

    with pytest.raises(mupwd.TraceError, match=r"mutable array \(swap at test_two_widths\.py:\d+\)"):
        cases["program"].family()


def test_a_sum_of_products_is_a_product_over_an_axis_that_grows():
    """Attention's logits without a dot: what a folded plan cannot do is seen in either spelling."""

    @cases.decided(lambda d: {"q": (d, d), "k": (d, d)})
    def program(params, x):
        q, k = x @ params["q"], x @ params["k"]
        return jax.nn.softmax((q[:, None] * k[None]).sum(-1)) @ x

    family = cases["program"].family()
    assert [(found.size, found.exponent) for found in family.logits] == [(64, 0.0)]
    with pytest.raises(mupwd.PlanError, match=r"test_two_widths\.py:\d+"):
        family.plan(128)


LOGITS = {
    "by a product": lambda q, keys: q @ keys.T,
    "by products of entries": lambda q, keys: (q[:, None] * keys[None]).sum(-1),
    "in a scan": lambda q, keys: jax.lax.scan(lambda _, k: (None, q @ k), None, keys)[1],
    "by vmap": lambda q, keys: jax.vmap(lambda k: q @ k)(keys),
}


@pytest.mark.parametrize("how", LOGITS)
def test_a_scale_of_the_queries_is_a_scale_of_the_logits(how):
    @cases.decided(lambda d: {"q": (d, d), "k": (d, d)})
    def program(params, x):
        q = (x @ params["q"]) * x.shape[1] ** -0.5
        logits = LOGITS[how](q, x @ params["k"])
        return jax.nn.softmax(logits) @ x

    family = cases["program"].family()
    assert [(found.size, found.exponent) for found in family.logits] == [(64, -0.5)]
    assert family.parameters["q"].scale_exponent == 0
