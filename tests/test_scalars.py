"""Numbers that users give: what passes, and what a refusal says."""

import math
from decimal import Decimal
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mupwd.scalars import as_float, check_number, check_rate, check_scalar

GOOD = [
    0,
    0.0,
    1e-3,
    5e-324,
    1e38,
    np.float32(0.1),
    np.float64(0.1),
    np.int64(1),
    np.array(0.1),
    jnp.float32(0.1),
]
NOT_NUMBERS = [
    True,
    np.True_,
    None,
    "0.1",
    [0.1],
    1j,
    Fraction(1, 10),
    Decimal("0.1"),
    float,
    np.array("0.1"),
    np.array(None),
    np.array(1j),
    jnp.array(True),
]
SEVERAL = [np.ones(1), np.ones((2, 3)), jnp.ones(1), jnp.ones((0,))]
NOT_MEANT = [
    -1e-3,
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    np.float32(-1),
    jnp.float32(jnp.nan),
    np.array(np.inf),
]


@pytest.mark.parametrize("value", GOOD, ids=repr)
def test_what_passes(value):
    check_number("rate", value)
    check_rate("rate", value)


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match=r"^rate must be a number or a scalar array; got "):
        check_number("rate", value)


@pytest.mark.parametrize("value", SEVERAL, ids=lambda value: str(value.shape))
def test_several_numbers_would_be_spread_along_axes(value):
    with pytest.raises(
        ValueError, match=r"^rate must be one number, an array of shape \(\); got an array of shape"
    ):
        check_number("rate", value)


@pytest.mark.parametrize("value", NOT_MEANT, ids=str)
def test_what_cannot_be_meant(value):
    with pytest.raises(ValueError, match=r"^rate must be a finite number, 0 or more; got"):
        check_number("rate", value)


def test_limits():
    with pytest.raises(ValueError, match="rate must be a finite number above 0; got 0"):
        check_number("rate", 0, zero=False)
    with pytest.raises(ValueError, match="b1 must be a finite number, 0 or more, below 1; got 1"):
        check_number("b1", 1, below=1)


def test_of_a_tracer_the_shape_is_known_and_the_value_is_not():
    jax.eval_shape(lambda x: check_number("rate", x), jax.ShapeDtypeStruct((), jnp.float32))
    with pytest.raises(ValueError, match="got an array of shape"):
        jax.eval_shape(lambda x: check_number("rate", x), jax.ShapeDtypeStruct((2,), jnp.float32))


def test_a_long_value_is_not_printed_whole():
    with pytest.raises(TypeError) as caught:
        check_scalar("rate", {"weights": [0.5] * 100_000})
    assert len(str(caught.value)) < 200


def test_as_float():
    assert as_float(-(10**400)) == -math.inf
    assert as_float(jnp.float32(0.5)) == 0.5
