"""Values to try, evenly spaced in octaves."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MOST = 10_000
"""Values of one hyperparameter; more are a factor that was mistyped."""


def octaves(lowest: float, highest: float, step: float = 1.0) -> tuple[float, ...]:
    """Returns `lowest, lowest * 2**step, ...` up to `highest`.

    Args:
      lowest: first value, above 0.
      highest: last value; a whole number of steps above the lowest.
      step: in octaves.

    Raises:
      ValueError: the ends are not positive and in order, or not a whole number of steps apart.

    Example:
      >>> octaves(0.25, 2.0)
      (0.25, 0.5, 1.0, 2.0)
    """
    if not (0 < lowest <= highest < math.inf and 0 < step < math.inf):
        raise ValueError(
            f"octaves: expected 0 < lowest <= highest and step > 0, got {lowest}, {highest}, {step}"
        )
    steps = (math.log2(highest) - math.log2(lowest)) / step
    if steps > _MOST:
        raise ValueError(
            f"octaves: {lowest:g} and {highest:g} are {steps:g} steps of {step:g} octaves apart; expected at most "
            f"{_MOST:,}"
        )
    if abs(steps - round(steps)) > 1e-6:
        raise ValueError(
            f"octaves: {lowest:g} and {highest:g} are {steps:g} steps of {step:g} octaves apart; expected a whole "
            "number of steps"
        )
    return tuple(lowest * 2 ** (step * i) for i in range(round(steps) + 1))


def neighbours(values: Sequence[float], centre: float) -> tuple[float, ...]:
    """Returns the value and those next to it.

    Args:
      values: the grid, in any order.
      centre: one of them.

    Raises:
      ValueError: the centre is not on the grid.

    Example:
      >>> neighbours((0.25, 0.5, 1.0, 2.0), 2.0)
      (1.0, 2.0)
    """
    ordered = sorted(values)
    if centre not in ordered:
        raise ValueError(f"neighbours: {centre} is not one of {ordered}")
    at = ordered.index(centre)
    return tuple(ordered[max(at - 1, 0) : at + 2])


def parse_values(name: str, text: str) -> tuple[float, ...]:
    """Returns the values of a flag: `LOW:HIGH` by factor 2, `LOW:HIGH:FACTOR`, or `A,B,C`.

    Args:
      name: of the flag, for messages.
      text: its value; a number is written as 0.25, 2.5e-1 or 2^-2.

    Raises:
      ValueError: it reads otherwise, or a value is not above 0; the message names the flag.

    Example:
      >>> parse_values("--weight_decays", "2^-4:2^0:4")
      (0.0625, 0.25, 1.0)
    """
    try:
        parts = text.split(":")
        if len(parts) == 1:
            values = tuple(_number(part) for part in text.split(","))
        elif len(parts) in (2, 3):
            factor = _number(parts[2]) if len(parts) == 3 else 2.0
            if factor <= 1:
                raise ValueError(f"the factor {parts[2]} is not above 1")
            values = octaves(_number(parts[0]), _number(parts[1]), math.log2(factor))
        else:
            raise ValueError("more than two colons")
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{name}: expected LOW:HIGH, LOW:HIGH:FACTOR or A,B,C with numbers such as 0.25 or 2^-2, got {text!r} "
            f"({error})"
        ) from None
    if min(values) <= 0:
        raise ValueError(f"{name}: every value must be above 0, got {text!r}")
    return values


def _number(text: str) -> float:
    base, power, exponent = text.strip().partition("^")
    if power and float(base) <= 0:
        raise ValueError(f"{text} is a power of a number that is not above 0")
    value = float(base) ** float(exponent) if power else float(base)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value
