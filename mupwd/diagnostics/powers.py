"""Power laws fitted to measurements, with intervals that also pay for what the law leaves unexplained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MOST = 64
"""The most seeds or points that an advice names; beyond it the answer is that they do not help."""


@dataclass(frozen=True)
class Exponent:
    """The exponent of one column.

    Attributes:
      value: least-squares estimate.
      interval: low and high end; None where no residual is left to judge by (one seed at two points).

    Example:
      >>> fit = fit_powers({"width": [32, 64, 128]}, [1.0, 2.0, 4.2])
      >>> e = fit.exponents["width"]
      >>> round(e.value, 2), e.interval[0] < 1 < e.interval[1], round(e.half_width, 2)
      (1.04, True, 0.26)
    """

    value: float
    interval: tuple[float, float] | None

    @property
    def half_width(self) -> float:
        """Half of the interval's length; infinite where there is none."""
        return math.inf if self.interval is None else (self.interval[1] - self.interval[0]) / 2


@dataclass(frozen=True, eq=False)
class PowerFit:
    """What `fit_powers` found.

    Attributes:
      exponents: `{column: exponent}` of the columns that were not known.
      constant: log2 of y where every column is 1.
      points: the measurements: `(values of the columns, y)`, as given.
      level: of the intervals.
      noise: variance of log2 y between seeds at one point.
      misfit: variance of log2 y of the points about the law, beyond what the seeds explain.

    Example:
      >>> fit = fit_powers({"width": [32, 64, 128]}, [1.0, 2.0, 4.2])
      >>> fit.points_needed("width", half_width=0.1), fit.seeds_needed("width", half_width=0.1)
      (1, 2)
    """

    exponents: dict[str, Exponent]
    constant: float
    points: list[tuple[dict[str, float], float]]
    level: float
    noise: float
    misfit: float

    def seeds_needed(self, column: str, half_width: float) -> int | None:
        """Seeds at each of the same points that would bring an interval to `value ± half_width`.

        Args:
          column: whose exponent.
          half_width: of its interval, in units of the exponent.

        Returns:
          The number in all, those that ran included; None where the points' distance from the law alone is
          too much for any number: more points are needed.
        """
        design = np.unique(self._design(), axis=0)
        return self._smallest(column, half_width, lambda seeds: (design, seeds), self._seeds() + 1)

    def points_needed(self, column: str, half_width: float) -> int | None:
        """Further values of a column, the largest ones continued, that would bring its interval to
        `value ± half_width` with as many seeds as now.

        Args:
          column: whose exponent.
          half_width: of its interval, in units of the exponent.

        Returns:
          How many; None where more than 64 would be.
        """
        design = np.unique(self._design(), axis=0)
        at = list(self.exponents).index(column)
        values = np.unique(design[:, at])
        step = (values[-1] - values[0]) / max(len(values) - 1, 1)
        typical = np.median(design, axis=0)

        def longer(more: int) -> tuple[np.ndarray, int]:
            new = np.tile(typical, (more, 1))
            new[:, at] = values[-1] + step * np.arange(1, more + 1)
            return np.concatenate([design, new]), self._seeds()

        return self._smallest(column, half_width, longer, 1)

    def _design(self) -> np.ndarray:
        return np.log2(np.array([[at[name] for name in self.exponents] for at, _ in self.points]))

    def _seeds(self) -> int:
        return max(1, round(len(self.points) / len(np.unique(self._design(), axis=0))))

    def _smallest(self, column, half_width, planned, first) -> int | None:
        if not half_width > 0:
            raise ValueError(f"half_width: expected a number above 0, found {half_width}")
        at = list(self.exponents).index(column)
        for count in range(first, MOST + 1):
            design, seeds = planned(count)
            size, columns = len(design), design.shape[1] + 1
            if size <= columns and (seeds == 1 or self.misfit):
                continue
            within, between = size * (seeds - 1), max(size - columns, 0)
            excess = seeds * self.misfit
            scale, freedom = _combined(self.noise, within + between, excess, between)
            error = math.sqrt(scale / seeds * _inverse(design)[at + 1, at + 1])
            if student(self.level, freedom) * error <= half_width:
                return count
        return None


def fit_powers(
    columns: Mapping[str, Sequence[float]],
    y: Sequence[float],
    level: float = 0.95,
    known: Mapping[str, float] | None = None,
    *,
    pooled: bool = False,
) -> PowerFit:
    """Fits `y = constant * prod(column ** exponent)` by least squares in log2.

    Measurements with equal columns are seeds of one point. Their mean square about the point, and the points'
    about the law, give Student's intervals: with no sign of a misfit both are pooled; a misfit beyond the
    seeds' noise is added, with the few degrees of freedom that it was estimated from (Satterthwaite). Seeds
    alone would make the interval as narrow as one likes about a law that does not quite hold.

    Args:
      columns: `{name: values [n]}`, above 0.
      y: measurements [n], above 0.
      level: of the intervals.
      known: `{name of a column: exponent}` that are held fixed.
      pooled: take a misfit for noise like that of the seeds: least squares as usual, for laws that are known
        to hold only up to corrections, which whoever judges the exponent allows for.

    Returns:
      The exponents, their intervals and what they were fitted to.

    Raises:
      ValueError: lengths differ, a value is not finite and above 0, an unknown column in `known`, fewer
        distinct points than unknowns, or columns that move together.

    Example:
      >>> fit = fit_powers({"width": [32, 64, 128, 32, 64, 128]}, [1.0, 1.5, 2.0, 1.0, 1.4, 2.1])
      >>> round(fit.exponents["width"].value, 2)
      0.52
    """
    known = dict(known or {})
    if not 0 < level < 1:
        raise ValueError(f"fit_powers: level: expected a number between 0 and 1, found {level}")
    if extra := known.keys() - columns.keys():
        raise ValueError(f"fit_powers: known: no column {sorted(extra)}; found {sorted(columns)}")
    names = [name for name in columns if name not in known]
    if not names:
        raise ValueError(f"fit_powers: known: nothing is left to fit of {sorted(columns)}")
    points = _checked(columns, y)
    target = np.log2([value for _, value in points])
    for name, exponent in known.items():
        target = target - exponent * np.log2([at[name] for at, _ in points])
    design = np.log2(np.array([[at[name] for name in names] for at, _ in points])).reshape(len(points), -1)
    groups, which = np.unique(design, axis=0, return_inverse=True)
    which = which.reshape(-1)
    matrix = np.concatenate([np.ones((len(groups), 1)), groups], axis=1)
    if np.linalg.matrix_rank(matrix - np.pad(groups.mean(0), (1, 0))) <= len(names):
        raise ValueError(
            f"fit_powers: {len(groups)} distinct points do not tell the exponents of {names} apart; "
            "vary each of them on its own"
        )
    inverse = _inverse(design)
    full = np.concatenate([np.ones((len(points), 1)), design], axis=1)
    coefficients = inverse @ (full.T @ target)
    counts = np.bincount(which)
    means = np.bincount(which, weights=target) / counts
    within = float(((target - means[which]) ** 2).sum())
    between = float((counts * (means - matrix @ coefficients) ** 2).sum())
    free_within, free_between = len(points) - len(groups), len(groups) - 1 - len(names)
    noise = within / free_within if free_within else math.nan
    law = between / free_between if free_between else math.nan
    mean = (within + between) / max(free_within + free_between, 1)
    excess = max(law - noise, 0.0) if free_within and free_between and not pooled else 0.0
    scale, freedom = _combined(mean, free_within + free_between, excess, free_between)
    exponents = {}
    for index, name in enumerate(names, start=1):
        value, interval = float(coefficients[index]), None
        if freedom:
            half = student(level, freedom) * math.sqrt(scale * inverse[index, index])
            interval = (value - half, value + half)
        exponents[name] = Exponent(value, interval)
    return PowerFit(
        exponents,
        float(coefficients[0]),
        points,
        level,
        mean if math.isnan(noise) or not excess else noise,
        excess * len(groups) / len(points),
    )


def _checked(
    columns: Mapping[str, Sequence[float]], y: Sequence[float]
) -> list[tuple[dict[str, float], float]]:
    for name, values in columns.items():
        if len(values) != len(y):
            raise ValueError(
                f"fit_powers: expected {len(y)} values of {name!r}, as of y; found {len(values)}"
            )
    points = []
    for index, value in enumerate(y):
        at = {name: float(values[index]) for name, values in columns.items()}
        for name, one in {"y": float(value), **at}.items():
            if not (math.isfinite(one) and one > 0):
                where = ", ".join(f"{column}={number:g}" for column, number in at.items())
                raise ValueError(
                    f"fit_powers: {name} of point {index} ({where}) is {one}; expected a finite number above 0: "
                    "leave the point out, or find out why the run gave it"
                )
        points.append((at, float(value)))
    return points


def _inverse(design: np.ndarray) -> np.ndarray:
    full = np.concatenate([np.ones((len(design), 1)), design], axis=1)
    return np.linalg.inv(full.T @ full)


def _combined(pooled: float, free: float, excess: float, free_excess: float) -> tuple[float, float]:
    """Mean square of pooled residuals plus a misfit, and its degrees of freedom."""
    scale = pooled + excess
    if not excess:
        return scale, free
    return scale, scale**2 / (pooled**2 / free + excess**2 / free_excess)


def student(level: float, freedom: float) -> float:
    """Returns how many standard errors an interval of Student's distribution reaches to each side.

    Args:
      level: of the interval, such as 0.95.
      freedom: degrees of freedom.

    Example:
      >>> round(student(0.95, 10), 3)
      2.228
    """
    # scipy comes with jax. This part of it takes a third of the time of scipy.stats to import.
    from scipy import special

    return float(special.stdtrit(freedom, (1 + level) / 2))
