"""The scorecard as JSON types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mupwd.transfer.curve import Curve
from mupwd.transfer.drift import Drift
from mupwd.transfer.gain import TuningGain
from mupwd.transfer.joint import JointOptimum
from mupwd.transfer.law import TransferLaw
from mupwd.transfer.observations import Estimate
from mupwd.transfer.optimum import Optimum
from mupwd.transfer.scorecard import RecipeScore, WidthScore


def as_json(scores: Mapping[str, RecipeScore]) -> dict[str, Any]:
    """Returns the scorecard as plain numbers, strings, lists and dicts; intervals are [low, high] or None.

    Args:
      scores: what `scorecard` returns.

    Returns:
      `{recipe: {attribute: value}}`, with the attributes of `RecipeScore`.

    Example:
      >>> from mupwd.transfer import Observation, scorecard
      >>> trials = [
      ...     Observation("mine", width, 2.0**lr, 2.0**wd, 0, loss=(lr + 6) ** 2 + (wd + 3) ** 2)
      ...     for width in (32, 64) for lr in range(-8, -4) for wd in range(-5, -1)
      ... ]
      >>> as_json(scorecard(trials))["mine"]["tuned"]
      {'learning_rate': 0.015625, 'weight_decay': 0.125}
    """
    return {recipe: _recipe(score) for recipe, score in scores.items()}


def _recipe(score: RecipeScore) -> dict[str, Any]:
    return {
        "tuned": {"learning_rate": score.tuned[0], "weight_decay": score.tuned[1]},
        "target": score.target,
        "widths": {str(width): _width(one) for width, one in score.widths.items()},
        "learning_rate_drift": _drift(score.learning_rate_drift),
        "weight_decay_drift": _drift(score.weight_decay_drift),
        "joint_learning_rate_drift": _drift(score.joint_learning_rate_drift),
        "joint_weight_decay_drift": _drift(score.joint_weight_decay_drift),
        "learning_rate_law": _law(score.learning_rate_law),
        "weight_decay_law": _law(score.weight_decay_law),
        "transferred": {str(seed): loss for seed, loss in score.transferred.items()},
        "regret": _estimate(score.regret),
        "regrets": {str(width): _estimate(one) for width, one in score.regrets.items()},
        "asymptotic_regret": _estimate(score.asymptotic_regret),
        "asymptotic_penalty": _estimate(score.asymptotic_penalty),
        "tuning_gain": _gain(score.tuning_gain),
        "missing": dict(score.missing),
    }


def _width(score: WidthScore) -> dict[str, Any]:
    return {
        "best": {"learning_rate": score.best[0], "weight_decay": score.best[1]},
        "loss": score.loss,
        "noise": score.noise,
        "learning_rate": _curve(score.learning_rate),
        "weight_decay": _curve(score.weight_decay),
        "joint": _joint(score.joint),
        "sensitivity": _estimate(score.sensitivity),
        "missing": dict(score.missing),
    }


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "held": curve.held,
        "points": [
            {
                "value": value,
                "mean": mean,
                "losses": {str(seed): loss for seed, loss in curve.losses[value].items()},
            }
            for value, mean in curve.means.items()
        ],
        "optimum": _optimum(curve.optimum),
    }


def _joint(joint: JointOptimum | None) -> dict[str, Any] | None:
    return joint and {
        "learning_rate": _optimum(joint.learning_rate),
        "weight_decay": _optimum(joint.weight_decay),
        "cross": joint.cross,
        "trials": joint.trials,
        "advice": joint.advice,
    }


def _optimum(optimum: Optimum | None) -> dict[str, Any] | None:
    return optimum and {
        "log2": optimum.log2,
        "interval": optimum.interval,
        "edge": optimum.edge,
        "noise": optimum.noise,
        "curvature": optimum.curvature,
    }


def _drift(one: Drift | None) -> dict[str, Any] | None:
    return one and {
        "octaves_per_doubling": one.slope,
        "interval": one.interval,
        "verdict": one.verdict,
        "advice": one.advice,
    }


def _law(law: TransferLaw | None) -> dict[str, Any] | None:
    return law and {
        "fit_error": _estimate(law.fit_error),
        "robustness": _estimate(law.robustness),
        "missing": dict(law.missing),
    }


def _gain(gain: TuningGain | None) -> dict[str, Any] | None:
    return gain and {
        "bought": gain.bought,
        "available": gain.available,
        "expected": gain.expected,
        "all_diverged": gain.all_diverged,
        "gain": _estimate(gain.gain),
    }


def _estimate(one: Estimate | None) -> dict[str, Any] | None:
    return one and {"value": one.value, "interval": one.interval}
