"""Numbers that users give: learning rates, decays, ratios. What cannot be meant is refused before it is used."""

from __future__ import annotations

import math
import reprlib
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a plain number that can be read once and for all.

    A `jax.Array` is not one, even a concrete one: `optax.inject_hyperparams` hands such arrays to the factory
    at every step, with a value that may have changed since. Nor is True, which would be a learning rate of 1.

    Example:
      >>> is_number(0.1), is_number(np.float32(0.1)), is_number(True), is_number("0.1")
      (True, True, False, False)
    """
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


_KIND = "a number or a scalar array"


def check_number(
    name: str, value: Any, *, zero: bool = True, below: float = math.inf, kind: str = _KIND
) -> None:
    """Refuses a number, or a scalar array, whose value is known and cannot be meant.

    Args:
      name: the argument's name, for the message.
      value: a number or array; of a tracer only the shape and the dtype are known.
      zero: whether 0 is allowed.
      below: the number must be smaller.
      kind: of thing that is wanted, for the message.

    Raises:
      TypeError: it is no number, nor an array of real numbers.
      ValueError: it is an array of several numbers; it is negative, NaN, infinite or too large, or 0 where `zero`
        is false.
    """
    check_scalar(name, value, kind)
    # A traced value is not known, and one of several processes was checked where it was made.
    if isinstance(value, Tracer) or (isinstance(value, jax.Array) and not value.is_fully_addressable):
        return
    known = as_float(value)
    if not (math.isfinite(known) and (known >= 0 if zero else known > 0) and known < below):
        least = ", 0 or more" if zero else " above 0"
        most = f", below {below:g}" if below < math.inf else ""
        raise ValueError(f"{name} must be a finite number{least}{most}; got {reprlib.repr(value)}")


def check_scalar(name: str, value: Any, kind: str = _KIND) -> None:
    """Refuses what is no number, whatever its value.

    Args:
      name: the argument's name, for the message.
      value: a number, or an array or tracer of one.
      kind: of thing that is wanted, for the message.

    Raises:
      TypeError: it is no number, nor an array of real numbers.
      ValueError: it is an array of several numbers.
    """
    if is_number(value):
        return
    got = reprlib.repr(value)
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        raise TypeError(f"{name} must be {kind}; got {got}")
    if not (jnp.issubdtype(value.dtype, np.floating) or jnp.issubdtype(value.dtype, np.integer)):
        raise TypeError(f"{name} must be {kind}; got {got}, of dtype {value.dtype}")
    if value.shape != ():
        raise ValueError(
            f"{name} must be one number, an array of shape (); got an array of shape {value.shape}, which would be "
            "spread along the axes of each parameter"
        )


def as_float(value: Any) -> float:
    """Returns a number, or a concrete array of one, as a float; infinite where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def check_rate(name: str, value: Any) -> None:
    """Refuses a learning rate or decay as `check_number` does; what a schedule returns is not known yet."""
    if not callable(value):
        check_number(name, value, kind="a number, a scalar array or a schedule")
