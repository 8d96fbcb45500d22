"""What a scorecard says, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mupwd.report.setting import Setting
from mupwd.transfer import Drift, Estimate, Optimum, RecipeScore, recipe_gain

Mark = Literal["good", "bad", "open"]
_UNIT = " nats/token"  # of losses; empty where a model of one's own says what its loss is
SIGNS: dict[Mark, str] = {"good": "✓", "bad": "✗", "open": "?"}


@dataclass(frozen=True)
class Sentence:
    """One finding, and whether it is good news."""

    mark: Mark
    text: str


def power(log2: float) -> str:
    """Returns a value as a power of two.

    Example:
      >>> power(-5.0), power(-5.126)
      ('2^-5', '2^-5.13')
    """
    return f"2^{round(log2, 2):g}"


def optimum_words(optimum: Optimum | None) -> str:
    """Returns an optimum with its interval, or the edge that it lies at."""
    if optimum is None:
        return "not measured"
    if optimum.edge in ("low", "high"):
        sign, word = ("≤", "lower") if optimum.edge == "low" else ("≥", "higher")
        return f"{sign} {power(optimum.best)}, edge: go {word}"
    interval = "" if optimum.interval is None else f" [{optimum.interval[0]:.2f}, {optimum.interval[1]:.2f}]"
    return f"{power(optimum.log2)}{interval}" + (" (flat)" if optimum.edge == "flat" else "")


def estimate_words(estimate: Estimate, signed: bool = False) -> str:
    """Returns a loss difference with its interval."""
    number = f"{estimate.value:+.3f}" if signed else f"{estimate.value:.3f}"
    if estimate.interval is None:
        return f"{number} (one seed: noise unknown)"
    return f"{number} [{estimate.interval[0]:+.3f}, {estimate.interval[1]:+.3f}]"


def short_drift(drift: Drift | None) -> Sentence:
    """Returns what became of an optimum in a few words."""
    if drift is None or drift.interval is None:
        return Sentence("open", "undecided")
    number = f"{drift.slope:+.2f} octaves per doubling"
    mark: dict[str, Mark] = {"transfers": "good", "drifts": "bad", "undecided": "open"}
    unclear = "within noise" if drift.within_noise else "undecided"
    word = {"transfers": "stays", "drifts": "drifts", "undecided": unclear}[drift.verdict]
    return Sentence(mark[drift.verdict], f"{word} ({number})")


def drift_words(what: str, drift: Drift | None) -> Sentence:
    """Returns what became of an optimum from the base to the target.

    Args:
      what: "learning rate" or "weight decay".
      drift: of its optimum.
    """
    if drift is None:
        return Sentence("open", f"best {what}: too few values to say")
    if drift.interval is None:
        return Sentence("open", f"best {what}: undecided; {drift.advice}")
    number = f"{drift.slope:+.2f} [{drift.interval[0]:+.2f}, {drift.interval[1]:+.2f}] octaves per doubling"
    if drift.verdict == "transfers":
        return Sentence("good", f"best {what} stays: {number} of width")
    if drift.verdict == "drifts":
        return Sentence("bad", f"best {what} drifts: {number} of width")
    if drift.within_noise:
        return Sentence(
            "open", f"best {what}: any movement is within noise, {number} of width; {drift.advice}"
        )
    return Sentence("open", f"best {what}: undecided, {number} of width; {drift.advice}")


def regret_words(score: RecipeScore, unit: str = _UNIT) -> Sentence:
    """Returns what was lost by not tuning at the target."""
    regret, best = score.regret, score.widths[score.target].best
    where = f"at width {score.target}"
    if not math.isfinite(regret.value):
        return Sentence("bad", f"{where} the tuned pair diverges")
    number = f"{estimate_words(regret)}{unit}"
    if best == score.tuned:
        return Sentence("good", f"{where} no pair that ran beats the tuned one; regret {number}")
    if regret.within_noise:
        mark: Mark = "open" if regret.interval is None else "good"
        return Sentence(mark, f"{where} the tuned pair is as good as the best within noise; regret {number}")
    better = f"learning rate {power(math.log2(best[0]))}, decay {power(math.log2(best[1]))}"
    return Sentence("bad", f"{where} tuning there would have won {number} ({better})")


def timescales(score: RecipeScore, setting: Setting) -> tuple[float, float]:
    """Returns `1 / (lr * wd)` of a matrix in steps at the peak learning rate, at the base and at the target."""
    rate, decay = score.tuned
    base = 1 / decay if setting.decay == "independent" else 1 / (rate * decay)
    lr, wd = setting.matrix[score.recipe]
    return base, base / (lr * wd)


def horizon_words(score: RecipeScore, setting: Setting) -> str:
    """Returns how the run's length compares with the time in which decay forgets."""
    base, target = timescales(score, setting)
    formula = "1/wd" if setting.decay == "independent" else "1/(lr·wd)"
    return (
        f"decay timescale {formula} of a matrix: {base:,.0f} steps at width {min(score.widths)}, "
        f"{target:,.0f} at width {score.target}; the runs have {setting.steps:,} steps"
    )


def tuned_words(score: RecipeScore) -> str:
    """Returns the pair that was tuned at the base."""
    lr, wd = score.tuned
    return (
        f"tuned at width {min(score.widths)}: learning rate {power(math.log2(lr))} = {lr:.3g}, "
        f"weight decay {power(math.log2(wd))} = {wd:.3g}"
    )


def sentences(score: RecipeScore, unit: str = _UNIT) -> list[Sentence]:
    """Returns the findings on one recipe."""
    return [
        drift_words("learning rate", score.learning_rate_drift),
        drift_words("weight decay", score.weight_decay_drift),
        regret_words(score, unit),
    ]


def comparison(scores: Mapping[str, RecipeScore], unit: str = _UNIT) -> list[Sentence]:
    """Returns how the first recipe's transferred pair does at the target against each other one's.

    Args:
      scores: by the names that the sentences use.
      unit: of losses.
    """
    (name, first), *others = scores.items()
    found = []
    for other_name, other in others:
        gain = recipe_gain(first, other)
        text = (
            f"tuned at width {min(first.widths)} and applied at width {first.target}, {name}'s loss minus "
            f"{other_name}'s is {estimate_words(gain, signed=True)}{unit}"
        )
        if gain.within_noise:
            found.append(Sentence("open", f"{text}: within noise"))
        else:
            found.append(Sentence("good" if gain.value < 0 else "bad", text))
    return found
