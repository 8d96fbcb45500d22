"""Values to try, evenly spaced in octaves."""

from __future__ import annotations

import math
from collections.abc import Sequence


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
    steps = math.log2(highest / lowest) / step
    if abs(steps - round(steps)) > 1e-6:
        raise ValueError(f"octaves: {lowest:g} and {highest:g} are {steps:g} steps of {step:g} octaves apart")
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
