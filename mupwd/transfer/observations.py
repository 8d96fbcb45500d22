"""What a finished trial says about its hyperparameters, and comparisons of such numbers across seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mupwd.diagnostics.powers import student

Pair = tuple[float, float]
"""A learning rate and a weight decay (coupled: a step decays by learning_rate * weight_decay * w)."""
Value = TypeVar("Value", float, Pair)


@dataclass(frozen=True)
class Observation:
    """The loss that one trial ended with.

    Attributes:
      recipe: the recipe that scaled the hyperparameters.
      width: the width of the model.
      learning_rate: peak learning rate as given at the base width, before the recipe's factors.
      weight_decay: coupled weight decay as given at the base width, before the recipe's factors.
      seed: initialisation and order of the data; equal seeds of two trials share both.
      loss: held-out loss in nats per token; infinite or NaN where the trial diverged or was stopped.
      stopped: the trial was ended early because others were better. What it would have ended with is not known,
        only that it is no optimum; a whole trial of the same configuration counts in its place.

    Example:
      >>> one = Observation("mupwd", width=64, learning_rate=2**-6, weight_decay=0.1, seed=0, loss=1.74)
      >>> one.pair
      (0.015625, 0.1)
    """

    recipe: str
    width: int
    learning_rate: float
    weight_decay: float
    seed: int
    loss: float
    stopped: bool = False

    @property
    def pair(self) -> Pair:
        """The learning rate and the weight decay."""
        return (self.learning_rate, self.weight_decay)


@dataclass(frozen=True)
class Estimate:
    """A number with the interval that holds it at the stated level.

    Attributes:
      value: the estimate.
      interval: low and high end; None where the data cannot say (one seed).

    Example:
      >>> Estimate(0.02, (-0.01, 0.05)).within_noise
      True
    """

    value: float
    interval: tuple[float, float] | None

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds 0, or there is none."""
        return self.interval is None or self.interval[0] <= 0.0 <= self.interval[1]


def by_recipe(observations: Iterable[Observation]) -> dict[str, list[Observation]]:
    """Returns `{recipe: its observations}`, in the order of their first ones.

    Args:
      observations: of any recipes.
    """
    recipes: dict[str, list[Observation]] = {}
    for one in observations:
        recipes.setdefault(one.recipe, []).append(one)
    return recipes


def losses_by_pair(observations: Iterable[Observation]) -> dict[Pair, dict[int, float]]:
    """Returns `{(learning_rate, weight_decay): {seed: loss}}`, diverged and stopped trials as infinity.

    Args:
      observations: trials of one recipe at one width.

    Raises:
      ValueError: the observations mix recipes or widths, or one configuration comes twice.
    """
    table: dict[Pair, dict[int, float]] = {}
    group: tuple[str, int] | None = None
    stopped: list[Observation] = []
    for one in observations:
        if group is not None and group != (one.recipe, one.width):
            raise ValueError(
                f"observations: expected one recipe and width, found {group} and {(one.recipe, one.width)}; "
                "filter them first"
            )
        group = (one.recipe, one.width)
        if one.stopped:
            stopped.append(one)
            continue
        seeds = table.setdefault(one.pair, {})
        if one.seed in seeds:
            raise ValueError(
                f"observations: {one.pair} at width {one.width} comes twice with seed {one.seed}; keep one of them"
            )
        seeds[one.seed] = one.loss if math.isfinite(one.loss) else math.inf
    for one in stopped:
        table.setdefault(one.pair, {}).setdefault(one.seed, math.inf)
    return table


def is_whole(observations: Sequence[Observation]) -> bool:
    """Returns whether every trial that was stopped also ran to its end.

    Args:
      observations: trials of any recipes and widths.
    """
    ended = {(one.recipe, one.width, one.pair, one.seed) for one in observations if not one.stopped}
    return all((one.recipe, one.width, one.pair, one.seed) in ended for one in observations)


def complete_pairs(table: Mapping[Value, Mapping[int, float]]) -> dict[Value, np.ndarray]:
    """Returns the losses of the pairs, or of other values, that ran with every seed, in the order of the seeds.

    Comparing only these keeps a lucky seed from looking like a good learning rate.

    Args:
      table: what `losses_by_pair` returns.
    """
    seeds = sorted({seed for losses in table.values() for seed in losses})
    complete = {
        pair: np.array([losses[seed] for seed in seeds])
        for pair, losses in table.items()
        if len(losses) == len(seeds)
    }
    return complete


def best_pair(table: Mapping[Pair, Mapping[int, float]]) -> Pair:
    """Returns the pair with the lowest mean loss among those that ran with every seed.

    Args:
      table: what `losses_by_pair` returns.

    Raises:
      ValueError: no pair ran with every seed, or all of them diverged.
    """
    means = {pair: float(losses.mean()) for pair, losses in complete_pairs(table).items()}
    finite = {pair: mean for pair, mean in means.items() if math.isfinite(mean)}
    if not finite:
        raise ValueError(
            f"best pair: of {len(table)} learning rate and decay pairs, {len(means)} ran with every seed and "
            "none of those gave a finite loss; lower the learning rates or run the missing seeds"
        )
    return min(finite, key=finite.__getitem__)


def seed_noise(losses: Sequence[np.ndarray]) -> tuple[float, int]:
    """Returns the standard deviation of one trial about its pair's and its seed's mean, and its degrees of
    freedom.

    The residual of the additive model `loss[pair, seed] = pair effect + seed effect + noise`: equal seeds
    share initialisation and data, so what they shift together says nothing about the pairs.

    Args:
      losses: per pair the losses of the same seeds, in the same order; rows with a diverged trial are left
        out.
    """
    rows = np.array([row for row in losses if np.isfinite(row).all()])
    if rows.ndim != 2 or min(rows.shape) < 2:
        return math.nan, 0
    residual = rows - rows.mean(0, keepdims=True) - rows.mean(1, keepdims=True) + rows.mean()
    freedom = (rows.shape[0] - 1) * (rows.shape[1] - 1)
    return math.sqrt(float((residual**2).sum()) / freedom), freedom


def regret(table: Mapping[Pair, Mapping[int, float]], transferred: Pair, level: float = 0.95) -> Estimate:
    """What is lost at the target by not tuning there: loss of the transferred pair minus the best pair's.

    Both are means over the same seeds; the interval is `t * s * sqrt(2 / seeds)` with s from `seed_noise`
    over all pairs that ran with every seed. The best pair is chosen from the same runs, which favours it:
    where nothing is lost, the estimate is above 0 on average, not at 0.

    Args:
      table: what `losses_by_pair` returns, for the target width.
      transferred: the pair that was tuned at the base.
      level: of the interval.

    Raises:
      ValueError: the transferred pair did not run at the target with every seed.
    """
    rows = complete_pairs(table)
    if transferred not in rows:
        raise ValueError(
            f"regret: the transferred pair {transferred} did not run with every seed at the target; run it there"
        )
    best = best_pair(table)
    seeds = len(rows[best])
    value = float(rows[transferred].mean() - rows[best].mean())
    noise, freedom = seed_noise(list(rows.values()))
    if not freedom:
        return Estimate(value, None)
    half = student(level, freedom) * noise * math.sqrt(2 / seeds)
    return Estimate(value, (value - half, value + half))


def mean_difference(first: Mapping[int, float], second: Mapping[int, float], level: float = 0.95) -> Estimate:
    """Mean of `first - second` over the seeds that both have, with Student's interval for paired numbers.

    Args:
      first: `{seed: loss}`.
      second: `{seed: loss}`.
      level: of the interval.

    Raises:
      ValueError: no seed is common to both.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise ValueError(
            f"difference: no seed in common between {sorted(first)} and {sorted(second)}; run both with the same seeds"
        )
    difference = np.array([first[seed] - second[seed] for seed in seeds])
    value = float(difference.mean())
    if len(seeds) < 2 or not np.isfinite(difference).all():
        return Estimate(value, None)
    error = float(difference.std(ddof=1)) / math.sqrt(len(seeds))
    half = student(level, len(seeds) - 1) * error
    return Estimate(value, (value - half, value + half))
