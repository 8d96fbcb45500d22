"""Where a loss curve has its minimum, and how well the runs at hand say so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from mupwd.diagnostics.powers import student
from mupwd.transfer.observations import Value

DRAWS = 4000


@dataclass(frozen=True)
class Optimum:
    """The minimum of a loss curve over one hyperparameter, in octaves (log2).

    Attributes:
      log2: position of the minimum of the fitted parabola; the best grid value where there is no fit.
      interval: low and high end; None where the runs cannot say.
      edge: "low" or "high" where the best value is the grid's first or last, so that the minimum lies there
        or beyond, "flat" where the runs near the best value do not curve upwards; None for a minimum that
        was fitted.
      best: log2 of the grid value with the lowest loss.
      noise: standard deviation of one trial about the parabola, in units of the loss; NaN where unknown.
      draws: positions that the data allow, as drawn; what intervals of drifts are computed from.
      curvature: a in `loss = a x² + …`, loss per squared octave; NaN where there is no fit.
      curvatures: those that the data allow, as drawn; they may be negative.

    Example:
      >>> found = fit_optimum({2.0**k: {0: (k + 6.3) ** 2, 1: (k + 6.3) ** 2 + 1} for k in range(-9, -3)})
      >>> round(found.log2, 3), found.best, found.edge, round(found.curvature, 3)
      (-6.3, -6.0, None, 1.0)
    """

    log2: float
    interval: tuple[float, float] | None
    edge: Literal["low", "high", "flat"] | None
    best: float
    noise: float = math.nan
    draws: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    curvature: float = math.nan
    curvatures: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)


def fit_optimum(
    losses: Mapping[float, Mapping[int, float]],
    window: float = 2.0,
    level: float = 0.95,
    seed: int = 0,
) -> Optimum:
    """Fits a parabola in log2 of the hyperparameter about the best value and returns its minimum.

    `loss = a x² + b x + c + (an offset per seed)`, least squares over the trials within `window` octaves of
    the best value; `x* = -b / 2a`. The interval comes from draws of (a, b) that the residuals allow:
    variance from the scaled inverse chi-square with the fit's degrees of freedom, coefficients from the
    normal about the estimate, so that few trials give wide intervals (a bootstrap of the residuals is too
    narrow there). Residuals hold both the noise between seeds and the misfit of a parabola. Draws stop at
    the nearest value on either side whose loss is above the best's by more than the noise, for one minimum
    cannot lie beyond it, and one grid step beyond the grid.

    Args:
      losses: `{value: {seed: loss}}`; values are positive, diverged trials infinite or NaN.
      window: half-width of the fit in octaves.
      level: of the interval.
      seed: of the draws.

    Returns:
      The minimum, in octaves, with its interval; at an edge of the grid the best value and no interval.

    Raises:
      ValueError: fewer than three values, a value that is not positive, or no finite loss at all.

    Example:
      >>> curve = {2.0**k: {0: (k + 6.3) ** 2, 1: (k + 6.3) ** 2 + 1} for k in range(-9, -3)}
      >>> round(fit_optimum(curve).log2, 3)
      -6.3
    """
    if len(losses) < 3 or any(value <= 0 for value in losses):
        raise ValueError(
            f"optimum: expected at least three positive values, found {sorted(losses)}; widen the grid"
        )
    values = sorted(losses)
    grid = np.log2(values)
    means = offset_means(losses, values)
    if not np.isfinite(means).any():
        raise ValueError(f"optimum: all trials at {values} diverged; lower the learning rate")
    at = int(np.argmin(means))
    best = float(grid[at])
    if at in (0, len(values) - 1):
        return Optimum(best, None, "high" if at else "low", best)
    near = [i for i in range(len(values)) if abs(grid[i] - best) <= window + 1e-9 and np.isfinite(means[i])]
    if len(near) < 3:
        near = [i for i in range(at - 1, at + 2) if np.isfinite(means[i])]
    if len(near) < 3:
        # A diverged neighbour bounds the minimum on one side, but a parabola needs three points.
        return Optimum(best, (float(grid[at - 1]), float(grid[at + 1])), "flat", best)
    trials = [
        (grid[i] - best, trial, loss)
        for i in near
        for trial, loss in losses[values[i]].items()
        if math.isfinite(loss)
    ]
    counts = np.array([len(losses[value]) for value in values])
    return _fit(trials, _Grid(grid, means, counts, at), level, np.random.default_rng(seed))


class _Grid(NamedTuple):
    """Values in log2, their mean losses and numbers of trials, and the index of the best."""

    x: np.ndarray
    means: np.ndarray
    counts: np.ndarray
    at: int

    def bracket(self, noise: float, freedom: int, level: float) -> tuple[float, float]:
        """The nearest values on either side that are worse than the best by more than the noise."""
        errors = noise * np.sqrt(1 / self.counts + 1 / self.counts[self.at])
        worse = self.means - self.means[self.at] > student(level, freedom) * errors
        step = float(np.diff(self.x).max())
        below, above = self.x[: self.at][worse[: self.at]], self.x[self.at + 1 :][worse[self.at + 1 :]]
        return (
            float(below[-1]) if below.size else float(self.x[0]) - step,
            float(above[0]) if above.size else float(self.x[-1]) + step,
        )


def _fit(
    trials: list[tuple[float, int, float]], grid: _Grid, level: float, rng: np.random.Generator
) -> Optimum:
    best = float(grid.x[grid.at])
    x = np.array([trial[0] for trial in trials])
    seeds = sorted({trial[1] for trial in trials})
    offsets = np.array([[trial[1] == one for one in seeds] for trial in trials], dtype=float)
    design = np.column_stack([x**2, x, offsets])
    loss = np.array([trial[2] for trial in trials])
    coefficients, _, rank, _ = np.linalg.lstsq(design, loss, rcond=None)
    freedom = len(loss) - int(rank)
    curvature, slope = coefficients[:2]
    fitted = curvature > 0
    position = float(best - slope / (2 * curvature)) if fitted else best
    if freedom < 1 or rank < design.shape[1]:
        return Optimum(position, None, None if fitted else "flat", best, curvature=float(curvature))
    residuals = float(((loss - design @ coefficients) ** 2).sum())
    limits = grid.bracket(math.sqrt(residuals / freedom), freedom, level)
    variances = residuals / rng.chisquare(freedom, DRAWS)
    covariance = np.linalg.inv(design.T @ design)[:2, :2]
    noise = rng.standard_normal((DRAWS, 2)) @ np.linalg.cholesky(covariance).T
    a, b = (coefficients[:2] + np.sqrt(variances)[:, None] * noise).T
    # A draw that curves downwards has its minimum at an end: on the side to which the loss falls.
    draws = np.where(a > 0, best - b / (2 * np.where(a > 0, a, 1.0)), np.where(b > 0, -np.inf, np.inf))
    draws = np.clip(draws, *limits)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Optimum(
        float(np.clip(position, *limits)),
        (float(low), float(high)),
        None if fitted else "flat",
        best,
        math.sqrt(residuals / freedom),
        draws,
        float(curvature),
        a,
    )


def offset_means(losses: Mapping[Value, Mapping[int, float]], values: Sequence[Value]) -> np.ndarray:
    """Returns the mean loss per value with the seeds' common offsets taken out, so that unequal seeds compare.

    Args:
      losses: `{value: {seed: loss}}`; a value is a number or a pair of them.
      values: the order of the result; infinite where one of the value's trials diverged.
    """
    offsets = seed_offsets(losses)
    return np.array(
        [
            np.mean([loss - offsets.get(seed, 0.0) for seed, loss in losses[value].items()])
            if all(map(math.isfinite, losses[value].values()))
            else np.inf
            for value in values
        ]
    )


def seed_offsets(losses: Mapping[Value, Mapping[int, float]]) -> dict[int, float]:
    """Returns what each seed adds to the loss, as a mean over the values that ran with every seed.

    Args:
      losses: `{value: {seed: loss}}`.
    """
    seeds = sorted({seed for trials in losses.values() for seed in trials})
    complete = [
        [trials[seed] for seed in seeds]
        for trials in losses.values()
        if len(trials) == len(seeds) and all(map(math.isfinite, trials.values()))
    ]
    if not complete:
        return dict.fromkeys(seeds, 0.0)
    table = np.array(complete)
    return {
        seed: float(offset)
        for seed, offset in zip(seeds, (table - table.mean(1, keepdims=True)).mean(0), strict=True)
    }
