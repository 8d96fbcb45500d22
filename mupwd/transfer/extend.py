"""Which values a sweep must run next because a best value lies at the edge of its grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

from mupwd.transfer.curve import learning_rate_curve, weight_decay_curve
from mupwd.transfer.observations import (
    Observation,
    Pair,
    best_pair,
    by_recipe,
    complete_pairs,
    losses_by_pair,
)
from mupwd.transfer.optimum import offset_means

Axis = Literal["learning_rate", "weight_decay"]
AXES: tuple[Axis, Axis] = ("learning_rate", "weight_decay")


def extensions(
    observations: Iterable[Observation], tuned: Mapping[str, Pair] | None = None, steps: int = 1
) -> dict[str, dict[Axis, tuple[float, ...]]]:
    """Returns the values beyond the grid that each recipe needs, so that every optimum comes to lie inside it.

    Looked at is each width's best pair, its best learning rate at the tuned decay, and its best decay at that
    learning rate: one that is the lowest or highest of the values that ran there asks for more on that side; a
    width where everything diverged asks for lower learning rates. Next values are those that other widths of the
    recipe ran already, and beyond them the grid's own spacing goes on: the larger of its median step and its step
    at that edge, in octaves, so that neither a refined middle nor two close values at the edge make it creep.

    Args:
      observations: finished trials of any recipes and widths.
      tuned: `{recipe: pair}` that is transferred; by default each recipe's best pair at the narrowest width.
      steps: how many values per edge.

    Returns:
      `{recipe: {"learning_rate": values, "weight_decay": values}}`, ascending; a recipe that needs none is absent,
      and so are hyperparameters that ran with one value only, which have no spacing.

    Raises:
      ValueError: `steps` is below 1.

    Example:
      >>> trials = [
      ...     Observation("sp", width, 2.0**lr, 2.0**wd, 0, loss=(lr + 3) ** 2 + (wd + 2) ** 2)
      ...     for width in (32, 64) for lr in range(-9, -3) for wd in range(-4, 0)
      ... ]
      >>> extensions(trials)
      {'sp': {'learning_rate': (0.125,)}}
    """
    if steps < 1:
        raise ValueError(f"extensions: steps must be 1 or more, got {steps}")
    found = {
        recipe: _extend(some, (tuned or {}).get(recipe), steps)
        for recipe, some in by_recipe(observations).items()
    }
    return {recipe: values for recipe, values in found.items() if values}


def _extend(observations: list[Observation], tuned: Pair | None, steps: int) -> dict[Axis, tuple[float, ...]]:
    # 0 has no logarithm and no neighbours.
    observations = [one for one in observations if min(one.pair) > 0]
    widths = sorted({one.width for one in observations})
    tables = [losses_by_pair(one for one in observations if one.width == width) for width in widths]
    if tuned is None and tables:
        tuned = _best(tables[0])
    grids = {axis: sorted({getattr(one, axis) for one in observations}) for axis in AXES}
    values: dict[Axis, set[float]] = {axis: set() for axis in AXES}
    for table in tables:
        for axis, side, end in _edges(table, tuned):
            values[axis].update(_beyond(grids[axis], end, side, steps))
    return {axis: tuple(sorted(some)) for axis, some in values.items() if some}


def _edges(
    table: dict[Pair, dict[int, float]], tuned: Pair | None
) -> list[tuple[Axis, Literal[-1, 1], float]]:
    """The hyperparameters whose best value at one width is the last that ran there: side, and that value."""
    best = _best(table)
    if best is None:
        return [("learning_rate", -1, min(pair[0] for pair in table))]
    looked_at: list[tuple[Axis, float, list[float]]] = [
        (axis, best[i], [pair[i] for pair in table]) for i, axis in enumerate(AXES)
    ]
    if tuned is not None:
        rates = learning_rate_curve(table, tuned[1])
        if any(map(math.isfinite, rates.means.values())):
            looked_at.append(("learning_rate", rates.best, list(rates.losses)))
            decays = weight_decay_curve(table, rates.best)
            looked_at.append(("weight_decay", decays.best, list(decays.losses)))
    found: list[tuple[Axis, Literal[-1, 1], float]] = []
    for axis, at, ran in looked_at:
        if min(ran) == max(ran):
            continue
        if at == min(ran):
            found.append((axis, -1, at))
        if at == max(ran):
            found.append((axis, 1, at))
    return found


def _best(table: dict[Pair, dict[int, float]]) -> Pair | None:
    """The best pair; of a sweep that still runs, by the seeds that there are."""
    if any(np.isfinite(losses).all() for losses in complete_pairs(table).values()):
        return best_pair(table)
    pairs = sorted(table)
    means = offset_means(table, pairs)
    return pairs[int(np.argmin(means))] if np.isfinite(means).any() else None


def _beyond(grid: list[float], end: float, side: Literal[-1, 1], steps: int) -> list[float]:
    """The next values on one side of `end`: of the grid while there are any, then by its spacing."""
    known = [value for value in grid if (value - end) * side > 0]
    next_values = sorted(known, reverse=side < 0)[:steps]
    gaps = np.diff(np.log2(grid))
    if not gaps.size:
        return []
    # Rounded: an octave stays an octave, and powers of two stay exact.
    step = round(float(max(np.median(gaps), gaps[0 if side < 0 else -1])), 9)
    last = grid[0 if side < 0 else -1]
    missing = steps - len(next_values)
    return next_values + [last * 2.0 ** (side * step * more) for more in range(1, missing + 1)]
