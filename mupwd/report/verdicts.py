"""The first panel: per recipe what transfers, what it costs where it does not, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mupwd import recipes
from mupwd.report.headline import headline, overall
from mupwd.report.next_steps import decided_by, failing, next_steps
from mupwd.report.setting import Setting
from mupwd.report.units import Units
from mupwd.report.words import (
    UNIT,
    Mark,
    Sentence,
    comparison,
    horizon_words,
    noticed,
    optimum_words,
    sentences,
    short_drift,
    short_regret,
    tuned_words,
    value_words,
)
from mupwd.transfer import RecipeScore
from mupwd.transfer.steady import SteadyLine

_WORDS: dict[Mark, str] = {"good": "transfers", "bad": "drifts", "open": "undecided"}


def verdict(
    score: RecipeScore,
    label: str,
    setting: Setting | None,
    units: Units,
    steady: Sequence[SteadyLine],
    failed: Sequence[str],
    others: Sequence[str],
) -> dict[str, Any]:
    """Returns what the panel says of one recipe, as JSON types.

    Args:
      score: of the recipe.
      label: that it has on the page.
      setting: of its runs; None: they are of a model of one's own, which knows what its losses are.
      units: of its learning rates and decays.
      steady: the lines of its steady state, at the tuned pair.
      failed: names that its coordinate check failed.
      others: which recipes to take in its place, in words.
    """
    mark, unit = overall(score), UNIT if setting is not None else ""
    said = [
        *dict.fromkeys((headline(score, unit), *sentences(score, unit))),
        *noticed(score, setting),
        *_implied(score, units, steady),
    ]
    return {
        "label": label,
        "about": _about(score.recipe),
        "mark": mark,
        "word": _word(score, mark),
        "drifts": [_said(short_drift(one)) for one in (score.learning_rate_drift, score.weight_decay_drift)],
        "regret": _said(short_regret(score)),
        "target": score.target,
        "tuned_at": score.tuned_at,
        "base": units.base,
        "tuned": tuned_words(score, units.base),
        "horizon": horizon_words(score, setting, units) if setting is not None else "",
        "sentences": [_said(one) for one in said],
        "next": next_steps(score, units.base, setting.ratios if setting else {}, steady, failed, others),
        "rows": [
            [
                str(width),
                optimum_words(one.learning_rate.optimum),
                optimum_words(one.weight_decay.optimum),
                f"{value_words(one.best[0])}, {value_words(one.best[1])}",
                f"{one.loss:.3f}" + ("" if math.isnan(one.noise) else f" ± {one.noise:.3f}"),
            ]
            for width, one in score.widths.items()
        ],
    }


def steady_verdict(label: str, lines: Sequence[SteadyLine]) -> dict[str, Any]:
    """Returns what the panel says of a recipe of which only the steady state was looked at.

    Args:
      label: that it has on the page.
      lines: of its steady state.
    """
    verdicts, mark = {line.verdict for line in lines}, _steady_mark(lines)
    counts = [f"{sum(line.verdict == one for line in lines)} {one}" for one in sorted(verdicts)]
    sentence = Sentence(mark, f"singular values and gains against width: {', '.join(counts)}")
    return {
        "label": label,
        "mark": mark,
        "word": {"good": "steady state holds", "bad": "steady state fails", "open": "undecided"}[mark],
        "sentences": [_said(sentence), *map(_said, _implied_by_sigma(lines))],
        "next": failing(lines) or ([decided_by(lines)] if mark == "open" else []),
    }


def compared(
    scores: Mapping[str, RecipeScore], labels: Mapping[str, str], setting: Setting | None
) -> list[dict[str, str]]:
    """Returns how the first recipe does against the others, where their targets and a seed are common.

    Args:
      scores: of one group.
      labels: that the recipes have on the page.
      setting: of the group's runs; None: they are of a model of one's own.
    """
    labelled = {labels[recipe]: score for recipe, score in scores.items()}
    return [_said(one) for one in comparison(labelled, UNIT if setting is not None else "")]


def _word(score: RecipeScore, mark: Mark) -> str:
    if score.target == score.tuned_at:
        return "one width"
    return _WORDS[mark] if math.isfinite(score.regret.value) else "diverges"


def _about(recipe: str) -> str:
    try:
        return recipes.get(recipe).source
    except ValueError:  # one of the user's own
        return ""


def _implied(score: RecipeScore, units: Units, steady: Sequence[SteadyLine]) -> list[Sentence]:
    """The powers of the width that the decay would have to follow, by the losses and by singular values."""
    found = []
    ratio = math.log2(score.target / score.tuned_at)
    drift = score.weight_decay_drift
    factors = [0.0 if one is None else one[1] for one in (units.tuned, units.target)]
    if min(factors) > 0 and drift is not None and drift.interval is not None:
        rule = math.log2(factors[1] / factors[0]) / ratio
        low, high = (rule + end for end in drift.interval)
        mark: Mark = (
            "good" if drift.verdict == "transfers" else "bad" if drift.verdict == "drifts" else "open"
        )
        found.append(
            Sentence(
                mark,
                f"for a matrix m times wider the losses ask for a weight decay of m^{rule + drift.slope:.2f} "
                f"[{low:.2f}, {high:.2f}]; this recipe sets m^{rule:.2f}",
            )
        )
    return [*found, *_implied_by_sigma(steady)]


def _implied_by_sigma(steady: Sequence[SteadyLine]) -> list[Sentence]:
    implied = [line.implied_decay for line in steady if line.implied_decay is not None]
    if not implied:
        return []
    is_short = any(line.verdict == "too short" for line in steady)
    short = ", but the runs are too short to judge by them" if is_short else ""
    return [
        Sentence(
            _steady_mark(steady),
            f"the singular values ask for m^{min(implied):.2f} to m^{max(implied):.2f} over "
            f"{len(implied)} kinds of layers{short}",
        )
    ]


def _steady_mark(lines: Sequence[SteadyLine]) -> Mark:
    verdicts = {line.verdict for line in lines}
    return "bad" if "fail" in verdicts else "good" if verdicts == {"pass"} else "open"


def _said(sentence: Sentence) -> dict[str, str]:
    return {"mark": sentence.mark, "text": sentence.text}
