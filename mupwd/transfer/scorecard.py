"""The verdict on a sweep over widths: optima, drift and regret per recipe, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mupwd.transfer.drift import Drift, drift
from mupwd.transfer.observations import (
    Estimate,
    Observation,
    Pair,
    best_pair,
    complete_pairs,
    losses_by_pair,
    mean_difference,
    regret,
    seed_noise,
)
from mupwd.transfer.optimum import Optimum, fit_optimum, seed_offsets


@dataclass(frozen=True)
class Curve:
    """Loss against one hyperparameter at one width, the other one held.

    Attributes:
      held: value of the other hyperparameter.
      losses: `{value: {seed: loss}}`; infinite where the trial diverged.
    """

    held: float
    losses: dict[float, dict[int, float]]

    @cached_property
    def optimum(self) -> Optimum | None:
        """The minimum of the curve; None where there are fewer than three values."""
        return fit_optimum(self.losses) if len(self.losses) >= 3 else None

    @property
    def best(self) -> float:
        """The value with the lowest mean loss."""
        means = self.means
        return min(means, key=means.__getitem__)

    @cached_property
    def means(self) -> dict[float, float]:
        """Mean loss per value, with what each seed adds to every value taken out."""
        offsets = seed_offsets(self.losses)
        return {
            value: float(np.mean([loss - offsets[seed] for seed, loss in seeds.items()]))
            for value, seeds in sorted(self.losses.items())
        }


@dataclass(frozen=True)
class WidthScore:
    """What one width says under one recipe.

    Attributes:
      best: the pair with the lowest mean loss of those that ran with every seed.
      loss: its mean loss.
      noise: standard deviation of one trial about its pair's and seed's mean; NaN where unknown.
      learning_rate: loss against learning rate, at the transferred decay.
      weight_decay: loss against decay, at this width's own best learning rate on that curve.
    """

    best: Pair
    loss: float
    noise: float
    learning_rate: Curve
    weight_decay: Curve


@dataclass(frozen=True)
class RecipeScore:
    """What a sweep says of one recipe.

    Attributes:
      recipe: its name.
      tuned: the best pair at the base: what is transferred.
      widths: `{width: score}`, narrowest (the base) first.
      learning_rate_drift: octaves per doubling of width.
      weight_decay_drift: octaves per doubling of width.
      transferred: `{seed: loss}` of the tuned pair at the target (the widest).
      regret: mean loss of the tuned pair at the target minus that of the target's best pair.
    """

    recipe: str
    tuned: Pair
    widths: dict[int, WidthScore]
    learning_rate_drift: Drift | None
    weight_decay_drift: Drift | None
    transferred: dict[int, float]
    regret: Estimate

    @property
    def target(self) -> int:
        """The widest width."""
        return max(self.widths)


def scorecard(
    observations: Iterable[Observation], tuned: Mapping[str, Pair] | None = None
) -> dict[str, RecipeScore]:
    """Judges each recipe of a sweep over widths: does what was tuned at the narrowest hold at the widest?

    Args:
      observations: finished trials of any recipes and widths.
      tuned: `{recipe: pair}` to transfer; by default each recipe's best pair at the narrowest width.

    Returns:
      `{recipe: score}` in the order of their first observations.

    Raises:
      ValueError: a recipe has fewer than two widths, the transferred pair did not run at the target, or all
        trials that an optimum needs diverged.

    Example:
      >>> trials = [
      ...     Observation("mine", width, 2.0**lr, 2.0**wd, seed, loss=(lr + 6) ** 2 + (wd + 3) ** 2 - width / 99)
      ...     for width in (32, 64) for lr in range(-9, -3) for wd in range(-5, 0) for seed in (0, 1)
      ... ]
      >>> score = scorecard(trials)["mine"]
      >>> score.tuned == (2**-6, 2**-3), score.learning_rate_drift.verdict, score.regret.value
      (True, 'transfers', 0.0)

    How the intervals are made: docs/demo.md.
    """
    recipes: dict[str, list[Observation]] = {}
    for one in observations:
        recipes.setdefault(one.recipe, []).append(one)
    return {recipe: _score(recipe, some, (tuned or {}).get(recipe)) for recipe, some in recipes.items()}


def recipe_gain(better: RecipeScore, other: RecipeScore) -> Estimate:
    """Loss of one recipe's transferred pair at the target minus another's: below 0 where the first is better.

    Args:
      better: the recipe that is hoped to be better.
      other: what it is compared with, at the same target.

    Raises:
      ValueError: the targets differ, or no seed is common to both.
    """
    if better.target != other.target:
        raise ValueError(f"recipe gain: targets differ: {better.target} and {other.target}")
    return mean_difference(better.transferred, other.transferred)


def _score(recipe: str, observations: list[Observation], tuned: Pair | None) -> RecipeScore:
    widths = sorted({one.width for one in observations})
    if len(widths) < 2:
        raise ValueError(f"scorecard: expected two widths or more for recipe {recipe!r}, found {widths}")
    tables = {width: losses_by_pair(one for one in observations if one.width == width) for width in widths}
    tuned = best_pair(tables[widths[0]]) if tuned is None else tuned
    scores = {width: score_width(tables[width], tuned) for width in widths}
    target = widths[-1]
    return RecipeScore(
        recipe,
        tuned,
        scores,
        _drift({width: score.learning_rate.optimum for width, score in scores.items()}),
        _drift({width: score.weight_decay.optimum for width, score in scores.items()}),
        tables[target].get(tuned, {}),
        regret(tables[target], tuned),
    )


def score_width(table: dict[Pair, dict[int, float]], tuned: Pair) -> WidthScore:
    """Returns one width's optima on the curves through the transferred pair.

    Args:
      table: what `losses_by_pair` returns.
      tuned: the transferred pair.

    Raises:
      ValueError: no trial has the transferred decay, or all of them diverged.
    """
    rows = complete_pairs(table)
    best = best_pair(table)
    learning_rate = learning_rate_curve(table, tuned[1])
    if not learning_rate.losses:
        raise ValueError(f"scorecard: no trial with the transferred weight decay {tuned[1]:g}")
    return WidthScore(
        best,
        float(rows[best].mean()),
        seed_noise(list(rows.values()))[0],
        learning_rate,
        weight_decay_curve(table, learning_rate.best),
    )


def learning_rate_curve(table: Mapping[Pair, dict[int, float]], weight_decay: float) -> Curve:
    """Returns the trials at one weight decay, as loss against learning rate."""
    return Curve(weight_decay, {pair[0]: seeds for pair, seeds in table.items() if pair[1] == weight_decay})


def weight_decay_curve(table: Mapping[Pair, dict[int, float]], learning_rate: float) -> Curve:
    """Returns the trials at one learning rate, as loss against weight decay; a decay of 0 has no logarithm."""
    return Curve(
        learning_rate,
        {pair[1]: seeds for pair, seeds in table.items() if pair[0] == learning_rate and pair[1] > 0},
    )


def _drift(optima: dict[int, Optimum | None]) -> Drift | None:
    known = {width: optimum for width, optimum in optima.items() if optimum is not None}
    return drift(known) if len(known) == len(optima) else None


def as_json(scores: Mapping[str, RecipeScore]) -> dict[str, Any]:
    """Returns the scorecard as plain numbers, strings, lists and dicts; intervals are [low, high] or None.

    Args:
      scores: what `scorecard` returns.
    """
    return {
        recipe: {
            "tuned": {"learning_rate": score.tuned[0], "weight_decay": score.tuned[1]},
            "target": score.target,
            "widths": {str(width): _width_json(one) for width, one in score.widths.items()},
            "learning_rate_drift": _drift_json(score.learning_rate_drift),
            "weight_decay_drift": _drift_json(score.weight_decay_drift),
            "transferred": {str(seed): loss for seed, loss in score.transferred.items()},
            "regret": {"value": score.regret.value, "interval": score.regret.interval},
        }
        for recipe, score in scores.items()
    }


def _width_json(score: WidthScore) -> dict[str, Any]:
    return {
        "best": {"learning_rate": score.best[0], "weight_decay": score.best[1]},
        "loss": score.loss,
        "noise": score.noise,
        "learning_rate": _curve_json(score.learning_rate),
        "weight_decay": _curve_json(score.weight_decay),
    }


def _curve_json(curve: Curve) -> dict[str, Any]:
    optimum = curve.optimum
    return {
        "held": curve.held,
        "points": [
            {
                "value": value,
                "mean": mean,
                "losses": {str(s): loss for s, loss in curve.losses[value].items()},
            }
            for value, mean in curve.means.items()
        ],
        "optimum": optimum
        and {
            "log2": optimum.log2,
            "interval": optimum.interval,
            "edge": optimum.edge,
            "noise": optimum.noise,
        },
    }


def _drift_json(one: Drift | None) -> dict[str, Any] | None:
    return one and {
        "octaves_per_doubling": one.slope,
        "interval": one.interval,
        "verdict": one.verdict,
        "advice": one.advice,
    }
