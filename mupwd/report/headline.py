"""The first sentence of a card: in plain words what is known of a recipe, and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mupwd.report.words import UNIT, Mark, Sentence, alone, estimate_words, regret_words
from mupwd.transfer import Drift, RecipeScore

_NAMES = ("learning rate", "weight decay")


def headline(score: RecipeScore, unit: str = UNIT) -> Sentence:
    """Returns one plain sentence on a recipe, for someone who knows nothing of it.

    Args:
      score: of the recipe.
      unit: of losses.
    """
    tuned_at, target = score.tuned_at, score.target
    if tuned_at == target:
        return alone(score)
    if not math.isfinite(score.regret.value):
        return Sentence(
            "bad", f"What was tuned at width {tuned_at} diverges at width {target}: do not carry it over"
        )
    drifts = dict(zip(_NAMES, (score.learning_rate_drift, score.weight_decay_drift), strict=True))
    moving = {name: one for name, one in drifts.items() if one is not None and one.verdict == "drifts"}
    if moving:
        how = " and ".join(f"the best {name} becomes {_factor(one)}" for name, one in moving.items())
        cost = _cost(score, unit)
        cost = f"so far {cost}" if score.regret.within_noise and cost else cost
        return Sentence(
            "bad",
            f"From width {tuned_at} to {target} {how} than this rule sets it: tune anew at each width, or take another "
            f"recipe{f'; {cost}' if cost else ''}",
        )
    unsure = {name: one for name, one in drifts.items() if one is None or one.verdict != "transfers"}
    if unsure:
        return Sentence("open", _open(score, unsure, unit))
    regret = regret_words(score, unit)
    text = f"What was tuned at width {tuned_at}"
    if regret.mark == "good":
        return Sentence("good", f"{text} is as good at width {target} as tuning there: carry it over")
    if regret.mark == "open":
        return Sentence(
            "good",
            f"{text} stays the best at width {target}; what it costs there these runs cannot tell (add seeds)",
        )
    return Sentence("open", f"{text} stays near the best at width {target}, but {_cost(score, unit)}")


def _open(score: RecipeScore, unsure: dict[str, Drift | None], unit: str) -> str:
    sure = [name for name in _NAMES if name not in unsure]
    hints = "; ".join(_hint(name, one) for name, one in unsure.items())
    where = f"from width {score.tuned_at} to {score.target}"
    if sure:
        text = (
            f"The {sure[0]} transfers {where}; about the {next(iter(unsure))} the runs cannot tell ({hints})"
        )
    else:
        text = f"Whether the best learning rate and weight decay stay the same {where}, the runs cannot tell ({hints})"
    cost = _cost(score, unit)
    return f"{text}; {cost}" if cost else text


def _hint(name: str, one: Drift | None) -> str:
    if one is None:
        return f"run three {name}s or more at every width"
    if "extend" in one.advice:
        return f"extend the grid of {name}s: the best lies at its edge"
    return "add seeds" if one.interval is None else f"add seeds, or {name}s near the optimum"


def _cost(score: RecipeScore, unit: str) -> str:
    """What was lost at the target; empty where that is not known."""
    regret, where = score.regret, f"at width {score.target}"
    if regret.interval is None:
        return ""
    if regret.within_noise:
        return f"what was tuned at width {score.tuned_at} lost nothing measurable {where}"
    return f"tuning {where} would have won {estimate_words(regret)}{unit}"


def _factor(one: Drift) -> str:
    times = 2 ** min(abs(one.total), 99)
    return f"{times:.1f} times {'lower' if one.total < 0 else 'higher'}"


def instead(scores: Mapping[str, RecipeScore], labels: Mapping[str, str]) -> list[str]:
    """Returns which recipes to take in place of one that fails: those that transfer, then those that lost nothing.

    Args:
      scores: of one group.
      labels: that the recipes have on the page.
    """
    marks = {recipe: overall(score) for recipe, score in scores.items()}
    fine = [f"recipe {labels[one]} transfers here" for one, mark in marks.items() if mark == "good"]
    return fine + [
        f"recipe {labels[one]} lost nothing measurable here"
        for one, mark in marks.items()
        if mark == "open" and usable(scores[one])
    ]


def usable(score: RecipeScore) -> bool:
    """Returns whether the tuned pair may be used at the target whatever the decay's optimum does: the learning rate
    transfers, and the pair did as well there as the best one, as far as noise lets one tell.

    Args:
      score: of the recipe.
    """
    rate = score.learning_rate_drift
    known = score.regret.interval is not None and regret_words(score).mark == "good"
    return known and rate is not None and rate.verdict == "transfers"


def overall(score: RecipeScore) -> Mark:
    """Returns whether a recipe transfers: "good" where both optima stay, "bad" where one drifts or the tuned pair
    diverges at the target, else "open".

    Args:
      score: of the recipe.
    """
    drifts = (score.learning_rate_drift, score.weight_decay_drift)
    verdicts = {one.verdict if one else "undecided" for one in drifts}
    if "drifts" in verdicts or not math.isfinite(score.regret.value):
        return "bad"
    return "good" if verdicts == {"transfers"} else "open"
