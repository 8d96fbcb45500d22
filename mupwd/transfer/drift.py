"""How far an optimum moves when the width doubles, and what may be said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mupwd.transfer.optimum import DRAWS, Optimum

Verdict = Literal["transfers", "drifts", "undecided"]


@dataclass(frozen=True)
class Drift:
    """The movement of an optimum with width.

    Attributes:
      slope: octaves per doubling of width, least squares over log2 width; NaN where an optimum is unknown.
      interval: of the slope; None where it is unknown.
      doublings: of width between the narrowest and the widest.
      verdict: "drifts": 0 is outside the interval, and the movement over all widths is more than the
        tolerance. "transfers": the movement is within the tolerance, and the interval excludes twice as
        much. Else "undecided".
      advice: for "undecided" what to add; else empty.

    Example:
      >>> found = grid_drift({32: -6, 64: -7, 128: -8})
      >>> found.verdict, found.slope, found.doublings, found.total, found.within_noise
      ('drifts', -1.0, 2.0, -2.0, False)
    """

    slope: float
    interval: tuple[float, float] | None
    doublings: float
    verdict: Verdict
    advice: str = ""

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds 0."""
        return self.interval is not None and self.interval[0] <= 0.0 <= self.interval[1]

    @property
    def total(self) -> float:
        """Octaves over all widths."""
        return self.slope * self.doublings


def drift(optima: Mapping[int, Optimum], tolerance: float = 1.0, level: float = 0.95) -> Drift:
    """Drift of fitted optima, with the uncertainty of each.

    Args:
      optima: `{width: optimum}`, two widths or more.
      tolerance: octaves over the whole range of widths that are as good as none; one step of a grid by
        factor 2.
      level: of the interval.

    Returns:
      The slope in octaves per doubling of width, its interval and the verdict.

    Raises:
      ValueError: fewer than two widths.

    Example:
      >>> from mupwd.transfer import fit_optimum
      >>> losses = lambda best: {2.0**k: {0: (k - best) ** 2, 1: (k - best) ** 2 + 1} for k in range(-9, -3)}
      >>> found = drift({32: fit_optimum(losses(-5.0)), 128: fit_optimum(losses(-7.0))})
      >>> found.verdict, round(found.slope, 3)
      ('drifts', -1.0)
    """
    widths = _checked_widths(list(optima))
    doublings = math.log2(widths[-1] / widths[0])
    edges = [
        f"at width {', '.join(at)} the best value is the {name} of the grid: extend it to {more} ones"
        for side, name, more in (("low", "lowest", "lower"), ("high", "highest", "higher"))
        if (at := [str(width) for width in widths if optima[width].edge == side])
    ]
    if edges:
        return Drift(math.nan, None, doublings, "undecided", "; ".join(edges))
    unknown = [str(width) for width in widths if optima[width].interval is None]
    slope = slopes(widths, np.array([[optima[width].log2] for width in widths]))[0]
    if unknown:
        return Drift(
            float(slope),
            None,
            doublings,
            "undecided",
            f"no interval at width {', '.join(unknown)}: add seeds",
        )
    draws = np.stack([_draws(optima[width], index) for index, width in enumerate(widths)])
    return _judge(float(slope), slopes(widths, draws), doublings, tolerance, level)


def grid_drift(
    optima: Mapping[int, float], step: float = 1.0, tolerance: float | None = None, level: float = 0.95
) -> Drift:
    """Drift of optima that are known only as the best value of a grid, such as a published table's.

    Each is taken to be uncertain by the sum of two uniform errors of half a step: the rounding to the grid,
    and noise that moves the best value to its neighbour.

    Args:
      optima: `{width: log2 of the best grid value}`.
      step: of the grid in octaves.
      tolerance: octaves over the whole range of widths that are as good as none; by default one step.
      level: of the interval.

    Returns:
      The slope in octaves per doubling of width, its interval and the verdict.

    Raises:
      ValueError: fewer than two widths.

    Example:
      >>> grid_drift({96: -9, 192: -10, 384: -11, 768: -11}).verdict
      'drifts'
    """
    widths = _checked_widths(list(optima))
    rng = np.random.default_rng(0)
    best = np.array([[optima[width]] for width in widths], dtype=float)
    errors = rng.uniform(-step / 2, step / 2, (2, len(widths), DRAWS)).sum(0)
    doublings = math.log2(widths[-1] / widths[0])
    slope = float(slopes(widths, best)[0])
    return _judge(
        slope, slopes(widths, best + errors), doublings, step if tolerance is None else tolerance, level
    )


def _checked_widths(widths: Sequence[int]) -> list[int]:
    if len(widths) < 2:
        raise ValueError(f"drift: expected the optimum at two widths or more, found {sorted(widths)}")
    return sorted(widths)


def slopes(widths: Sequence[int], values: np.ndarray) -> np.ndarray:
    """Returns the least-squares slope over log2 width of every column.

    Args:
      widths: of the rows.
      values: `[widths, columns]`.
    """
    x = np.log2(np.array(widths, dtype=float))
    x -= x.mean()
    return x @ values / (x @ x)


def _draws(optimum: Optimum, index: int) -> np.ndarray:
    if optimum.draws.size:
        # Shuffled: every optimum was drawn from the same stream of random numbers.
        return np.random.default_rng(index).permutation(optimum.draws)
    assert optimum.interval is not None
    return np.random.default_rng(index).uniform(*optimum.interval, DRAWS)


def _judge(slope: float, slopes: np.ndarray, doublings: float, tolerance: float, level: float) -> Drift:
    low, high = (float(end) for end in np.quantile(slopes, [(1 - level) / 2, (1 + level) / 2]))
    total = slope * doublings
    verdict: Verdict
    if (low > 0 or high < 0) and abs(total) > tolerance:
        verdict, advice = "drifts", ""
    elif abs(total) <= tolerance and max(-low, high) * doublings <= 2 * tolerance:
        verdict, advice = "transfers", ""
    else:
        verdict, advice = "undecided", "add seeds near the optima, or widths"
    return Drift(slope, (low, high), doublings, verdict, advice)
