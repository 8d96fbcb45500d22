"""The verdict on a sweep over widths: optima, drift and regret per recipe, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from mupwd.transfer.curve import Curve, learning_rate_curve, weight_decay_curve
from mupwd.transfer.drift import Drift, drift
from mupwd.transfer.gain import TuningGain, tuning_gain
from mupwd.transfer.joint import JointOptimum, fit_joint_optimum
from mupwd.transfer.law import TransferLaw, transfer_law
from mupwd.transfer.limits import limit_or_reason, penalties
from mupwd.transfer.observations import (
    Estimate,
    Observation,
    Pair,
    best_pair,
    by_recipe,
    complete_pairs,
    is_whole,
    losses_by_pair,
    mean_difference,
    regret,
    seed_noise,
)
from mupwd.transfer.optimum import Optimum
from mupwd.transfer.sensitivity import learning_rate_sensitivity

_Table = dict[Pair, dict[int, float]]
Judged = TypeVar("Judged", Drift, TransferLaw)
_CHOSEN = "an average over a grid, and these trials were chosen by their losses"
_STOPPED = "an average over the grid, of which some trials were stopped early"
_ONE_WIDTH = "there is one width alone"
_OF_SEVERAL_WIDTHS = (
    "learning_rate_drift",
    "weight_decay_drift",
    "joint_learning_rate_drift",
    "joint_weight_decay_drift",
    "learning_rate_law",
    "weight_decay_law",
    "asymptotic_regret",
)


@dataclass(frozen=True)
class WidthScore:
    """What one width says under one recipe.

    Attributes:
      best: the pair with the lowest mean loss of those that ran with every seed.
      loss: its mean loss.
      noise: standard deviation of one trial about its pair's and seed's mean; NaN where unknown.
      learning_rate: loss against learning rate, at the transferred decay.
      weight_decay: loss against decay, at this width's own best learning rate on that curve.
      joint: the minimum over both; None where the trials are no grid that allows it.
      sensitivity: of the loss to the learning rate over that curve; None where unknown.
      missing: `{attribute: why it is None}`.

    Example:
      >>> losses = {(2.0**lr, 2.0**wd): {0: (lr + 6) ** 2 + wd**2} for lr in range(-8, -4) for wd in (-1, 0, 1)}
      >>> one = score_width(losses, tuned=(2**-6, 1.0))
      >>> one.best, one.learning_rate.optimum.log2
      ((0.015625, 1.0), -6.0)
    """

    best: Pair
    loss: float
    noise: float
    learning_rate: Curve
    weight_decay: Curve
    joint: JointOptimum | None = None
    sensitivity: Estimate | None = None
    missing: dict[str, str] = field(default_factory=dict)


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
      joint_learning_rate_drift: the same of the joint optima's learning rate; None where a width has none.
      joint_weight_decay_drift: of their decay.
      learning_rate_law: how well the learning rate's optima follow a power of the width, and what an error costs.
      weight_decay_law: likewise the decay's.
      regrets: `{width: regret}` of the widths where the tuned pair ran with every seed.
      asymptotic_regret: their limit at infinite width; None where unknown.
      asymptotic_penalty: limit at infinite width of the best pair's loss minus that of the recipe whose best pair
        is the best one at the target; None where unknown.
      tuning_gain: transfer against tuning at the target at equal compute; None where the costs are unknown.
      missing: `{attribute: why it is None}`.

    Example:
      >>> trials = [
      ...     Observation("mine", width, 2.0**lr, 2.0**wd, 0, loss=(lr + 6) ** 2 + (wd + 3) ** 2)
      ...     for width in (32, 64) for lr in range(-8, -4) for wd in range(-5, -1)
      ... ]
      >>> score = scorecard(trials)["mine"]
      >>> score.target, score.tuned, score.missing["tuning_gain"]
      (64, (0.015625, 0.125), 'the cost of a trial per width is not given')
    """

    recipe: str
    tuned: Pair
    widths: dict[int, WidthScore]
    learning_rate_drift: Drift | None
    weight_decay_drift: Drift | None
    transferred: dict[int, float]
    regret: Estimate
    joint_learning_rate_drift: Drift | None = None
    joint_weight_decay_drift: Drift | None = None
    learning_rate_law: TransferLaw | None = None
    weight_decay_law: TransferLaw | None = None
    regrets: dict[int, Estimate] = field(default_factory=dict)
    asymptotic_regret: Estimate | None = None
    asymptotic_penalty: Estimate | None = None
    tuning_gain: TuningGain | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def tuned_at(self) -> int:
        """The narrowest width; where there is one alone, the target as well, and nothing is known of transfer."""
        return min(self.widths)

    @property
    def target(self) -> int:
        """The widest width."""
        return max(self.widths)


def scorecard(
    observations: Iterable[Observation],
    tuned: Mapping[str, Pair] | None = None,
    initial_loss: float | None = None,
    costs: Mapping[int, float] | None = None,
    grid: bool = True,
) -> dict[str, RecipeScore]:
    """Judges, for each recipe of a sweep over widths, whether what was tuned at the narrowest holds at the widest.

    Of a recipe with one width it says what was tuned, and nothing of drift.

    Args:
      observations: finished trials of any recipes and widths.
      tuned: `{recipe: pair}` to transfer; by default each recipe's best pair at the narrowest width.
      initial_loss: of the untrained model, log(vocabulary) nats per token; what a diverged trial counts as in the
        learning rate's sensitivity.
      costs: `{width: cost of one trial}` in any unit; needed for the gain over tuning at the target.
      grid: whether the trials are a grid, so that averages over it mean something: the learning rate's sensitivity
        and the gain over tuning at the target. They are also left out where trials were stopped early.

    Returns:
      `{recipe: score}` in the order of their first observations.

    Raises:
      ValueError: the transferred pair did not run at the target, all trials that an optimum needs diverged, or `costs`
        lacks the base or the target.

    Example:
      >>> trials = [
      ...     Observation("mine", width, 2.0**lr, 2.0**wd, seed, loss=(lr + 6) ** 2 + (wd + 3) ** 2 - width / 99)
      ...     for width in (32, 64) for lr in range(-9, -3) for wd in range(-5, 0) for seed in (0, 1)
      ... ]
      >>> score = scorecard(trials)["mine"]
      >>> score.tuned == (2**-6, 2**-3), score.learning_rate_drift.verdict, score.regret.value
      (True, 'transfers', 0.0)

    What each number is and how its interval is made: docs/transfer.md.
    """
    scores, best = {}, {}
    for recipe, some in by_recipe(observations).items():
        tables = {
            width: losses_by_pair(one for one in some if one.width == width)
            for width in sorted({one.width for one in some})
        }
        partial = _CHOSEN if not grid else _STOPPED if not is_whole(some) else None
        score = _score(recipe, tables, (tuned or {}).get(recipe), initial_loss, partial)
        gain: TuningGain | str
        if partial is not None:
            gain = partial
        elif len(tables) < 2:
            gain = _ONE_WIDTH
        elif costs is None:
            gain = "the cost of a trial per width is not given"
        else:
            gain = tuning_gain(some, costs, {recipe: score.tuned})[recipe]
        scores[recipe] = _with(score, tuning_gain=gain)
        best[recipe] = {width: tables[width][one.best] for width, one in score.widths.items()}
    limits = penalties(best)
    return {recipe: _with(score, asymptotic_penalty=limits[recipe]) for recipe, score in scores.items()}


def recipe_gain(better: RecipeScore, other: RecipeScore) -> Estimate:
    """Loss of one recipe's transferred pair at the target minus another's: below 0 where the first is better.

    Args:
      better: the recipe that is hoped to be better.
      other: what it is compared with, at the same target.

    Returns:
      The mean difference over the seeds that both have, in nats per token.

    Raises:
      ValueError: the targets differ, or no seed is common to both.

    Example:
      >>> trials = [
      ...     Observation(recipe, width, 2.0**lr, 2.0**wd, 0, loss=(lr + 6) ** 2 + (wd + 3) ** 2 + worse)
      ...     for recipe, worse in (("mine", 0.0), ("other", 0.5))
      ...     for width in (32, 64) for lr in range(-8, -4) for wd in range(-5, -1)
      ... ]
      >>> scores = scorecard(trials)
      >>> recipe_gain(scores["mine"], scores["other"]).value
      -0.5
    """
    if better.target != other.target:
        raise ValueError(
            f"recipe gain: targets differ: {better.target} and {other.target}; compare recipes at one width"
        )
    return mean_difference(better.transferred, other.transferred)


def _score(
    recipe: str,
    tables: dict[int, _Table],
    tuned: Pair | None,
    initial_loss: float | None,
    partial: str | None,
) -> RecipeScore:
    widths = list(tables)
    tuned = best_pair(tables[widths[0]]) if tuned is None else tuned
    scores = {width: score_width(tables[width], tuned, initial_loss, partial) for width in widths}
    score = RecipeScore(
        recipe,
        tuned,
        scores,
        None,
        None,
        tables[widths[-1]].get(tuned, {}),
        regret(tables[widths[-1]], tuned),
        regrets={
            width: regret(table, tuned) for width, table in tables.items() if tuned in complete_pairs(table)
        },
    )
    if len(widths) < 2:
        return _with(score, **dict.fromkeys(_OF_SEVERAL_WIDTHS, _ONE_WIDTH))
    for axis in ("learning_rate", "weight_decay"):
        optima = {width: getattr(one, axis).optimum for width, one in scores.items()}
        few = "fewer than three values ran at width {}"
        score = _with(
            score,
            **{
                f"{axis}_drift": _judge(drift, optima, few),
                f"{axis}_law": _judge(transfer_law, optima, few),
                f"joint_{axis}_drift": _joint_drift(
                    {width: one.joint for width, one in scores.items()}, axis
                ),
            },
        )
    if any(one and one.verdict == "drifts" for one in (score.learning_rate_drift, score.weight_decay_drift)):
        limit = "an optimum drifts: under a power law the regret of a fixed pair has no limit"
    else:
        limit = limit_or_reason(score.regrets, widths)
    return _with(score, asymptotic_regret=limit)


def _with(score: RecipeScore, **values: Any) -> RecipeScore:
    """Returns the score with attributes set; a string is the reason why there is none."""
    reasons = {name: value for name, value in values.items() if isinstance(value, str)}
    known = {name: None if name in reasons else value for name, value in values.items()}
    return replace(score, **known, missing={**score.missing, **reasons})


def _joint_drift(joint: Mapping[int, JointOptimum | None], axis: str) -> Drift | str:
    # At an edge of one hyperparameter there is no fit, and so nothing is known of the other's optimum either.
    edges = [f"at width {width} {one.advice}" for width, one in joint.items() if one and one.at_edge]
    if edges and all(joint.values()):
        return Drift(math.nan, None, math.log2(max(joint) / min(joint)), "undecided", "; ".join(edges))
    optima = {width: one and getattr(one, axis) for width, one in joint.items()}
    return _judge(drift, optima, "no joint optimum at width {}")


def _judge(
    judge: Callable[[Mapping[int, Optimum]], Judged], optima: Mapping[int, Optimum | None], why: str
) -> Judged | str:
    known = {width: optimum for width, optimum in optima.items() if optimum is not None}
    lost = [str(width) for width in optima if width not in known]
    return why.format(", ".join(lost)) if lost else judge(known)


def score_width(
    table: _Table, tuned: Pair, initial_loss: float | None = None, partial: str | None = None
) -> WidthScore:
    """Returns one width's optima on the curves through the transferred pair.

    Args:
      table: what `losses_by_pair` returns.
      tuned: the transferred pair.
      initial_loss: of the untrained model; None: unknown.
      partial: why an average over the learning rates would mean nothing; None: it does.

    Raises:
      ValueError: no trial has the transferred decay, or all of them diverged.
    """
    rows = complete_pairs(table)
    best = best_pair(table)
    learning_rate = learning_rate_curve(table, tuned[1])
    if not learning_rate.losses:
        raise ValueError(
            f"scorecard: no trial with the transferred weight decay {tuned[1]:g}; run some at every width"
        )
    missing: dict[str, str] = {}
    joint = fit_joint_optimum(table)
    if joint is None:
        missing["joint"] = (
            "no grid of three learning rates and three decays or more, and their pairs, about the best"
        )
    sensitivity = None
    if partial is not None:
        missing["sensitivity"] = partial
    else:
        try:
            sensitivity = learning_rate_sensitivity(learning_rate.losses, initial_loss)
        except ValueError as error:
            missing["sensitivity"] = str(error)
    return WidthScore(
        best,
        float(rows[best].mean()),
        seed_noise(list(rows.values()))[0],
        learning_rate,
        weight_decay_curve(table, learning_rate.best),
        joint,
        sensitivity,
        missing,
    )
