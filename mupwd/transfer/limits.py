"""Differences of losses at infinite width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mupwd.transfer.law import SIGMAS
from mupwd.transfer.observations import Estimate, mean_difference


def infinite_width(values: Mapping[int, Estimate]) -> Estimate:
    """Extrapolates a difference of losses to infinite width.

    The constant of `difference = limit + c / width`, least squares over the widths: the first correction to an
    infinite-width limit. The interval adds the widths' own in quadrature, widened by the square root of the reduced
    chi-square where the differences scatter about the law by more than that; it does not know what other laws would
    give.

    Args:
      values: `{width: difference with its interval}`, three widths or more.

    Returns:
      The limit; without an interval where a width has none.

    Raises:
      ValueError: fewer than three widths, or a difference that is not finite.

    Example:
      >>> round(infinite_width({width: Estimate(0.1 + 2 / width, None) for width in (32, 64, 128)}).value, 6)
      0.1
    """
    widths = sorted(values)
    differences = np.array([values[width].value for width in widths])
    if len(widths) < 3 or not np.isfinite(differences).all():
        raise ValueError(
            "infinite width: expected finite differences at three widths or more, found "
            + ", ".join(f"{values[width].value:g} at {width}" for width in widths)
        )
    design = np.column_stack([np.ones(len(widths)), 1 / np.array(widths, dtype=float)])
    inverse = np.linalg.pinv(design)
    limit = float(inverse[0] @ differences)
    intervals = [one for width in widths if (one := values[width].interval) is not None]
    if len(intervals) < len(widths):
        return Estimate(limit, None)
    halves = np.ptp(np.array(intervals), axis=1) / 2
    residuals = differences - design @ (inverse @ differences)
    known = halves > 0
    scatter = float(((residuals[known] / halves[known] * SIGMAS) ** 2).sum()) / (len(widths) - 2)
    half = math.sqrt(float((inverse[0] * halves) @ (inverse[0] * halves))) * max(1.0, math.sqrt(scatter))
    return Estimate(limit, (limit - half, limit + half))


def limit_or_reason(values: Mapping[int, Estimate], widths: Sequence[int]) -> Estimate | str:
    """Returns the limit of differences at infinite width, or why there is none.

    Args:
      values: `{width: difference}`.
      widths: that are to be part of it.
    """
    bad = [str(width) for width in widths if width not in values or not math.isfinite(values[width].value)]
    if bad:
        return f"no finite difference at width {', '.join(bad)}: run the pairs there with every seed"
    if len(widths) < 3:
        return f"three widths or more are needed, there are {len(widths)}"
    return infinite_width({width: values[width] for width in widths})


def penalties(best: Mapping[str, Mapping[int, Mapping[int, float]]]) -> dict[str, Estimate | str]:
    """Compares what recipes reach at their best at infinite width.

    Args:
      best: `{recipe: {width: {seed: loss of the best pair}}}`.

    Returns:
      `{recipe: limit}` of its loss minus that of the recipe which is best at the widest common width, paired by
      seed; or why there is none.
    """
    common = sorted(set.intersection(*(set(widths) for widths in best.values()))) if best else []
    if len(best) < 2 or not common:
        reason = "there is no other recipe to compare with" if len(best) < 2 else "the recipes share no width"
        return dict.fromkeys(best, reason)
    first = min(best, key=lambda recipe: float(np.mean(list(best[recipe][common[-1]].values()))))
    found: dict[str, Estimate | str] = {}
    for recipe, widths in best.items():
        differences = {
            width: mean_difference(widths[width], best[first][width])
            for width in common
            if widths[width].keys() & best[first][width].keys()
        }
        found[recipe] = (
            "the other recipes are compared with this one"
            if recipe == first
            else limit_or_reason(differences, common)
        )
    return found
