"""Where the loss has its minimum over learning rate and weight decay together, and how well the runs say so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mupwd.transfer.observations import Pair
from mupwd.transfer.optimum import DRAWS, Optimum, offset_means

_AXES = ("learning rate", "weight decay")
_TERMS = 5


@dataclass(frozen=True)
class JointOptimum:
    """The minimum of a quadratic over both hyperparameters, in octaves (log2).

    Attributes:
      learning_rate: its coordinate of the minimum, with the interval that also pays for not knowing the best
        decay; `curvature` is the Hessian's entry over 2.
      weight_decay: likewise (coupled).
      cross: c in `loss = a x² + b y² + c x y + …`, loss per octave squared: below 0 where a higher learning rate
        wants a higher decay. NaN where there is no fit.
      trials: that were fitted.
      advice: what to add where the best pair lies at the edge of the grid or the runs cannot say; else empty.

    Example:
      >>> grid = {(2.0**lr, 2.0**wd): {0: lr**2 + (wd + 2) ** 2} for lr in range(-9, -3) for wd in range(-4, 1)}
      >>> found = fit_joint_optimum(grid)
      >>> found.at_edge, found.learning_rate.edge
      (True, 'high')
    """

    learning_rate: Optimum
    weight_decay: Optimum
    cross: float
    trials: int
    advice: str = ""

    @property
    def at_edge(self) -> bool:
        """Whether the best pair lies at the edge of the grid, so that there is no fit."""
        return any(one.edge in ("low", "high") for one in (self.learning_rate, self.weight_decay))


def fit_joint_optimum(
    table: Mapping[Pair, Mapping[int, float]], window: float = 2.0, level: float = 0.95, seed: int = 0
) -> JointOptimum | None:
    """Fits a quadratic with a cross term in (log2 learning rate, log2 decay) and returns its minimum.

    `loss = a x² + b y² + c x y + d x + e y + (an offset per seed)`, least squares over the trials within `window`
    octaves of the best pair in both coordinates, and at least its neighbours; the minimum solves
    `[[2a, c], [c, 2b]] (x, y) = -(d, e)`. The intervals come from draws of the five coefficients as in
    `fit_optimum`. A draw that is no valley has its minimum where it is lowest within the limits, which are one
    grid step beyond the trials on every side; draws stop there.

    Args:
      table: `{(learning rate, decay): {seed: loss}}` of one recipe and width; diverged trials infinite or NaN.
        Values of 0 have no logarithm and are left out.
      window: half-width of the fit in octaves.
      level: of the intervals.
      seed: of the draws.

    Returns:
      The minimum; None where the trials cannot tell the terms apart, as on a cross of two lines: fewer than
      three values of either, or too few pairs.

    Raises:
      ValueError: all trials diverged.

    Example:
      >>> grid = [(lr, wd) for lr in range(-9, -3) for wd in range(-4, 2)]
      >>> losses = {(lr, wd): (lr + 6.3) ** 2 + (wd + 1.2) ** 2 - (lr + 6.3) * (wd + 1.2) for lr, wd in grid}
      >>> found = fit_joint_optimum({(2.0**lr, 2.0**wd): {0: loss} for (lr, wd), loss in losses.items()})
      >>> round(found.learning_rate.log2, 3), round(found.weight_decay.log2, 3), round(found.cross, 3)
      (-6.3, -1.2, -1.0)
    """
    table = {pair: seeds for pair, seeds in table.items() if min(pair) > 0}
    axes = [np.unique(np.log2([pair[i] for pair in table])) for i in (0, 1)]
    if min(map(len, axes)) < 3:
        return None
    pairs = sorted(table)
    means = offset_means(table, pairs)
    if not np.isfinite(means).any():
        raise ValueError(f"joint optimum: all {len(pairs)} pairs diverged; lower the learning rate")
    best = np.log2(pairs[int(np.argmin(means))])
    edges: list[Literal["low", "high"] | None] = [
        _edge(axis, at) for axis, at in zip(axes, best, strict=True)
    ]
    if any(edges):
        advice = "; ".join(
            f"the best pair has the {edge}est {what} of the grid: extend it to {edge}er {what}s"
            for what, edge in zip(_AXES, edges, strict=True)
            if edge
        )
        lr, wd = (Optimum(float(at), None, edge, float(at)) for at, edge in zip(best, edges, strict=True))
        return JointOptimum(lr, wd, math.nan, 0, advice)
    spans = [_span(axis, at, window) for axis, at in zip(axes, best, strict=True)]
    near = [
        (*(np.log2(pair) - best), trial, loss)
        for pair, mean in zip(pairs, means, strict=True)
        if np.isfinite(mean)
        and all(low <= at <= high for at, (low, high) in zip(np.log2(pair), spans, strict=True))
        for trial, loss in table[pair].items()
    ]
    limits = np.array([(2 * axis[0] - axis[1], 2 * axis[-1] - axis[-2]) for axis in axes])
    return _fit(near, best, limits - best[:, None], level, np.random.default_rng(seed))


def _edge(axis: np.ndarray, at: float) -> Literal["low", "high"] | None:
    return "low" if at == axis[0] else "high" if at == axis[-1] else None


def _span(axis: np.ndarray, at: float, window: float) -> tuple[float, float]:
    """The window, widened to the neighbours of the best value where the grid is coarser than it."""
    place = int(np.searchsorted(axis, at))
    room = 1e-9
    return min(at - window, axis[place - 1]) - room, max(at + window, axis[place + 1]) + room


def _fit(
    trials: list[tuple[float, float, int, float]],
    best: np.ndarray,
    limits: np.ndarray,
    level: float,
    rng: np.random.Generator,
) -> JointOptimum | None:
    x, y, loss = (np.array([trial[i] for trial in trials]) for i in (0, 1, 3))
    seeds = sorted({trial[2] for trial in trials})
    offsets = np.array([[trial[2] == one for one in seeds] for trial in trials], dtype=float)
    design = np.column_stack([x**2, y**2, x * y, x, y, offsets])
    coefficients, _, rank, _ = np.linalg.lstsq(design, loss, rcond=None)
    if rank < design.shape[1]:
        return None
    estimate = coefficients[:_TERMS]
    freedom = len(loss) - int(rank)
    position, valley = _minima(estimate[None], limits)
    edge = None if valley[0] else "flat"
    centre = position[0] if valley[0] else np.zeros(2)
    advice = "" if valley[0] else "the losses near the best pair do not curve upwards: add seeds near it"
    if freedom < 1:
        advice = advice or "as many terms as trials: add seeds near the best pair"
        lr, wd = (
            Optimum(float(best[i] + centre[i]), None, edge, float(best[i]), curvature=float(estimate[i]))
            for i in (0, 1)
        )
        return JointOptimum(lr, wd, float(estimate[2]), len(loss), advice)
    residuals = float(((loss - design @ coefficients) ** 2).sum())
    covariance = np.linalg.inv(design.T @ design)[:_TERMS, :_TERMS]
    noise = rng.standard_normal((DRAWS, _TERMS)) @ np.linalg.cholesky(covariance).T
    drawn = estimate + np.sqrt(residuals / rng.chisquare(freedom, DRAWS))[:, None] * noise
    draws = np.clip(_minima(drawn, limits)[0], *limits.T)
    ends = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    lr, wd = (
        Optimum(
            float(best[i] + np.clip(centre[i], *limits[i])),
            (float(best[i] + ends[0, i]), float(best[i] + ends[1, i])),
            edge,
            float(best[i]),
            math.sqrt(residuals / freedom),
            best[i] + draws[:, i],
            float(estimate[i]),
            drawn[:, i],
        )
        for i in (0, 1)
    )
    return JointOptimum(lr, wd, float(estimate[2]), len(loss), advice)


def _minima(coefficients: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minima of quadratics `[n, 5]`: `[n, 2]`, and which are valleys; the others' are sought within the limits."""
    a, b, c, d, e = coefficients.T
    determinant = 4 * a * b - c**2
    valley = (a > 0) & (determinant > 0)
    safe = np.where(valley, determinant, 1.0)
    inside = np.stack([(c * e - 2 * b * d) / safe, (c * d - 2 * a * e) / safe], axis=-1)
    # Without a valley the lowest point of a box lies on its rim: at a corner, or where a side is lowest.
    candidates = [np.broadcast_to(corner, inside.shape) for corner in _corners(limits)]
    for fixed in limits[0]:
        candidates.append(np.stack([np.full_like(a, fixed), _lowest(b, c * fixed + e, limits[1])], axis=-1))
    for fixed in limits[1]:
        candidates.append(np.stack([_lowest(a, c * fixed + d, limits[0]), np.full_like(a, fixed)], axis=-1))
    points = np.stack(candidates)
    x, y = points[..., 0], points[..., 1]
    lowest = np.argmin(a * x**2 + b * y**2 + c * x * y + d * x + e * y, axis=0)
    rim = points[lowest, np.arange(len(a))]
    return np.where(valley[:, None], inside, rim), valley


def _corners(limits: np.ndarray) -> np.ndarray:
    return np.array([(x, y) for x in limits[0] for y in limits[1]])


def _lowest(square: np.ndarray, slope: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Vertex of `square x² + slope x` within the limits; a corner is lower where it curves downwards."""
    return np.clip(-slope / (2 * np.where(square > 0, square, 1.0)), *limits)
