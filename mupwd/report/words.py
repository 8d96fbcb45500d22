"""What a scorecard says, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mupwd.report.setting import Setting
from mupwd.report.units import Units
from mupwd.transfer import Drift, Estimate, Optimum, RecipeScore, recipe_gain

Mark = Literal["good", "bad", "open"]
UNIT = " nats/token"  # of losses; empty where a model of one's own says what its loss is
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


def value_words(value: float) -> str:
    """Returns a learning rate or a decay as a power of two; 0 has none.

    Example:
      >>> value_words(0.25), value_words(0.0)
      ('2^-2', '0')
    """
    return power(math.log2(value)) if value > 0 else "0"


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
        return f"{number} (noise unknown)"
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


def regret_words(score: RecipeScore, unit: str = UNIT) -> Sentence:
    """Returns what was lost by not tuning at the target."""
    regret, best = score.regret, score.widths[score.target].best
    where = f"at width {score.target}"
    if not math.isfinite(regret.value):
        return Sentence("bad", f"{where} the tuned pair diverges")
    number = f"{estimate_words(regret)}{unit}"
    mark: Mark = "open" if regret.interval is None else "good"
    if best == score.tuned:
        if regret.interval is None and not _neighbours(score):
            return Sentence("open", f"{where} only the tuned pair ran: regret not known")
        return Sentence(mark, f"{where} no pair that ran beats the tuned one; regret {number}")
    if regret.within_noise:
        return Sentence(mark, f"{where} the tuned pair is as good as the best within noise; regret {number}")
    better = f"learning rate {value_words(best[0])}, decay {value_words(best[1])}"
    return Sentence("bad", f"{where} tuning there would have won {number} ({better})")


def short_regret(score: RecipeScore) -> Sentence:
    """Returns what was lost by not tuning at the target in a few words."""
    if score.target == score.tuned_at:
        return Sentence("open", "undecided")
    return Sentence(regret_words(score).mark, estimate_words(score.regret))


def timescales(score: RecipeScore, decay: str, units: Units) -> tuple[float, float] | None:
    """Returns `1 / (lr * wd)` of a matrix in steps at the peak learning rate, at the width that was tuned and at the
    target; None where they are not known, or where the tuned decay is 0.

    Args:
      score: of the recipe.
      decay: "coupled" or "independent".
      units: of its learning rates and decays.
    """
    rate, wd = score.tuned
    if units.tuned is None or units.target is None:
        return None
    rates = [wd * lr_factor * wd_factor for lr_factor, wd_factor in (units.tuned, units.target)]
    rates = rates if decay == "independent" else [rate * one for one in rates]
    return (1 / rates[0], 1 / rates[1]) if min(rates) > 0 else None


def noticed(score: RecipeScore, setting: Setting | None) -> list[Sentence]:
    """Returns a sentence per axis other than width along which the target differs and that the recipe does not cover.

    Args:
      score: of the recipe.
      setting: how its trials were run; None where that is not known.
    """
    said = () if setting is None else setting.notices.get(score.recipe, ())
    return [Sentence("open", text) for text in said]


def horizon_words(score: RecipeScore, setting: Setting, units: Units) -> str:
    """Returns how the run's length compares with the time in which decay forgets; empty where that is not known."""
    if not score.tuned[1]:
        return "the tuned weight decay is 0: weights keep what they learned"
    found = timescales(score, setting.decay, units)
    if found is None:
        return ""
    formula = "1/wd" if setting.decay == "independent" else "1/(lr·wd)"
    target = f", {found[1]:,.0f} at width {score.target}" if score.target != score.tuned_at else ""
    return (
        f"decay timescale {formula} of a matrix: {found[0]:,.0f} steps at width {score.tuned_at}{target}; the runs "
        f"have {setting.steps:,} steps"
    )


def alone(score: RecipeScore) -> Sentence:
    """Returns what is not known where one width ran.

    Args:
      score: of the recipe.
    """
    return Sentence(
        "open",
        f"width {score.target} ran alone: this is the best pair there, and whether it holds at other widths is not "
        "known",
    )


def tuned_words(score: RecipeScore, base: int) -> str:
    """Returns the pair that was tuned.

    Args:
      score: of the recipe.
      base: the width whose units the pair is in.
    """
    lr, wd = score.tuned
    units = "" if base == score.tuned_at else f", in units of base {base}"
    return (
        f"tuned at width {score.tuned_at}{units}: learning rate {value_words(lr)} = {lr:.3g}, "
        f"weight decay {value_words(wd)} = {wd:.3g}"
    )


def sentences(score: RecipeScore, unit: str = UNIT) -> list[Sentence]:
    """Returns the findings on one recipe."""
    if score.target == score.tuned_at:
        return [alone(score)]
    return [
        drift_words("learning rate", score.learning_rate_drift),
        drift_words("weight decay", score.weight_decay_drift),
        regret_words(score, unit),
    ]


def comparison(scores: Mapping[str, RecipeScore], unit: str = UNIT) -> list[Sentence]:
    """Returns how the first recipe's transferred pair does at the target against each other one's.

    Args:
      scores: by the names that the sentences use.
      unit: of losses.

    Returns:
      A sentence for each of the others whose target, and a seed of the transferred pair there, are those of the first.
    """
    found: list[Sentence] = []
    if not scores:
        return found
    (name, first), *others = scores.items()
    for other_name, other in others:
        if other.target != first.target or not first.transferred.keys() & other.transferred.keys():
            continue
        applied = "" if first.tuned_at == first.target else f" and applied at width {first.target}"
        where = f"tuned at width {first.tuned_at}{applied}"
        lost = {n: not _finite(score) for n, score in ((name, first), (other_name, other))}
        if any(lost.values()):
            which = " and ".join(f"{n}'s" for n, diverged in lost.items() if diverged)
            text = f"{where}, {which} pair diverges"
            mark: Mark = "open" if all(lost.values()) else "bad" if lost[name] else "good"
            found.append(Sentence(mark, text))
            continue
        gain = recipe_gain(first, other)
        text = f"{where}, {name}'s loss minus {other_name}'s is {estimate_words(gain, signed=True)}{unit}"
        if gain.within_noise:
            found.append(Sentence("open", f"{text}: within noise"))
        else:
            found.append(Sentence("good" if gain.value < 0 else "bad", text))
    return found


def _finite(score: RecipeScore) -> bool:
    """Whether no run of the tuned pair at the target diverged."""
    return all(map(math.isfinite, score.transferred.values()))


def _neighbours(score: RecipeScore) -> bool:
    """Whether another learning rate or decay ran at the target, as often as the tuned pair."""
    at, (rate, decay) = score.widths[score.target], score.tuned
    most = len(score.transferred)
    curves = ((at.learning_rate, rate), (at.weight_decay, decay))
    return any(
        value != tuned and len(losses) >= most
        for curve, tuned in curves
        for value, losses in curve.losses.items()
    )
