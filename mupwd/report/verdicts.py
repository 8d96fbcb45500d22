"""The first panel: per recipe what transfers, what it costs where it does not, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mupwd.report.collect import Group, Run
from mupwd.report.setting import Setting
from mupwd.report.words import (
    Mark,
    Sentence,
    comparison,
    estimate_words,
    horizon_words,
    optimum_words,
    power,
    regret_words,
    sentences,
    short_drift,
    tuned_words,
)
from mupwd.transfer import Drift, RecipeScore, scorecard
from mupwd.transfer.steady import SteadyLine

_WORDS: dict[Mark, str] = {"good": "transfers", "bad": "drifts", "open": "undecided"}


def judge(group: Group) -> Mapping[str, RecipeScore]:
    """Returns the scores of a group's recipes; why one has none is added to the group's notes.

    Args:
      group: with its runs.
    """
    if group.scores is not None:
        return group.scores
    # The trials of these checks stand at few learning rates and decays on purpose.
    if group.checks.keys() & {"steady", "exponent"}:
        return {}
    observations: dict[str, list[Any]] = {}
    for run in group.runs:
        one = run.observation()
        if one is not None and one.learning_rate > 0:
            observations.setdefault(run.recipe, []).append(one)
    scores: dict[str, RecipeScore] = {}
    for recipe, some in observations.items():
        try:
            scores |= scorecard(some)
        except ValueError as error:
            group.notes.append(f"{group.name}: no verdict on recipe {recipe}: {error}")
    return scores


def describe(group: Group) -> Setting | None:
    """Returns how the trials of a group were run, as far as their files tell; None where they do not.

    Args:
      group: with its runs.
    """
    if group.setting is not None:
        return group.setting
    trials = [
        run for run in group.runs if {"steps", "batch_size", "sequence_length"} <= run.hyperparameters.keys()
    ]
    corpus = group.manifest.get("run", {}).get("corpus")
    if not trials or not isinstance(corpus, dict):
        return None
    target = max(run.width for run in trials)
    given = next(run.hyperparameters for run in trials if run.width == target)
    return Setting(
        command="",
        model="",
        corpus=str(corpus.get("source", "")),
        corpus_sha256=str(corpus.get("sha256", "")),
        steps=int(given["steps"]),
        tokens=int(given["batch_size"]) * int(given["sequence_length"]),
        seeds=tuple(sorted({run.seed for run in trials})),
        decay=str(given.get("decay", "coupled")),
        matrix=matrix_factors(group),
        trials=len(trials),
        trial_seconds=sum(run.seconds for run in trials if run.seconds == run.seconds),
        environment=group.manifest.get("environment", {}),
    )


def matrix_factors(group: Group) -> dict[str, tuple[float, float]]:
    """Returns `{recipe: (factor on the learning rate, factor on the decay)}` of a matrix at the widest width.

    Args:
      group: with its runs.
    """
    target = max((run.width for run in group.runs), default=0)
    return {
        run.recipe: factors
        for run in group.runs
        if run.width == target and (factors := _matrix_factors(run)) is not None
    }


def verdict(
    score: RecipeScore,
    label: str,
    setting: Setting | None,
    factor: tuple[float, float] | None,
    steady: Sequence[SteadyLine],
    failed: Sequence[str],
    others: Sequence[str],
) -> dict[str, Any]:
    """Returns what the panel says of one recipe, as JSON types.

    Args:
      score: of the recipe.
      label: that it has on the page.
      setting: of its runs.
      factor: of a matrix at the target, on the learning rate and on the decay.
      steady: the lines of its steady state, at the tuned pair.
      failed: names that its coordinate check failed.
      others: labels of recipes that transfer.
    """
    mark = overall(score)
    said = [*sentences(score), *_implied(score, factor, steady)]
    known = setting is not None and score.recipe in setting.matrix
    return {
        "label": label,
        "mark": mark,
        "word": _WORDS[mark],
        "drifts": [_said(short_drift(one)) for one in (score.learning_rate_drift, score.weight_decay_drift)],
        "regret": _said(Sentence(regret_words(score).mark, estimate_words(score.regret))),
        "target": score.target,
        "base": min(score.widths),
        "tuned": tuned_words(score),
        "horizon": horizon_words(score, setting) if known and setting is not None else "",
        "sentences": [_said(one) for one in said],
        "next": _next(score, mark, steady, failed, others),
        "rows": [
            [
                str(width),
                optimum_words(one.learning_rate.optimum),
                optimum_words(one.weight_decay.optimum),
                f"{power(math.log2(one.best[0]))}, {_decay(one.best[1])}",
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
        "next": _failing(lines) or [one for one in [_decided_by(lines)] if mark == "open" and one],
    }


def overall(score: RecipeScore) -> Mark:
    """Returns whether a recipe transfers: "good" where both optima stay, "bad" where one drifts, else "open"."""
    verdicts = {one.verdict if one else "undecided" for one in _drifts(score)}
    if "drifts" in verdicts:
        return "bad"
    return "good" if verdicts == {"transfers"} else "open"


def compared(scores: Mapping[str, RecipeScore], labels: Mapping[str, str]) -> list[dict[str, str]]:
    """Returns how the first recipe does against the others, where their targets and a seed are common.

    Args:
      scores: of one group.
      labels: that the recipes have on the page.
    """
    found: list[dict[str, str]] = []
    some = [(labels[recipe], score) for recipe, score in scores.items()]
    for first, other in zip(some[:1] * len(some), some[1:], strict=False):
        # Single runs need not form a study in which this means something.
        if other[1].target == first[1].target and first[1].transferred.keys() & other[1].transferred.keys():
            found += [_said(one) for one in comparison(dict([first, other]))]
    return found


def _drifts(score: RecipeScore) -> tuple[Drift | None, Drift | None]:
    return score.learning_rate_drift, score.weight_decay_drift


def _implied(
    score: RecipeScore, factor: tuple[float, float] | None, steady: Sequence[SteadyLine]
) -> list[Sentence]:
    """The powers of the width that the decay would have to follow, by the losses and by singular values."""
    found = []
    ratio = math.log2(score.target / min(score.widths))
    drift = score.weight_decay_drift
    if factor is not None and factor[1] > 0 and drift is not None and drift.interval is not None:
        rule = math.log2(factor[1]) / ratio
        low, high = (rule + end for end in drift.interval)
        mark: Mark = (
            "good" if drift.verdict == "transfers" else "bad" if drift.verdict == "drifts" else "open"
        )
        found.append(
            Sentence(
                mark,
                f"implied decay: the rule's m^{rule:.2f}, with the drift of the best decay "
                f"m^{rule + drift.slope:.2f} [{low:.2f}, {high:.2f}]",
            )
        )
    return [*found, *_implied_by_sigma(steady)]


def _implied_by_sigma(steady: Sequence[SteadyLine]) -> list[Sentence]:
    implied = [line.implied_decay for line in steady if line.implied_decay is not None]
    if not implied:
        return []
    is_short = any(line.verdict == "too short" for line in steady)
    short = ", though the runs were too short to judge it" if is_short else ""
    return [
        Sentence(
            _steady_mark(steady),
            f"implied decay by singular values: m^{min(implied):.2f} to m^{max(implied):.2f} over "
            f"{len(implied)} kinds of layers{short}",
        )
    ]


def _steady_mark(lines: Sequence[SteadyLine]) -> Mark:
    verdicts = {line.verdict for line in lines}
    return "bad" if "fail" in verdicts else "good" if verdicts == {"pass"} else "open"


def _failing(steady: Sequence[SteadyLine]) -> list[str]:
    """The kinds of layers that fail, the worst first, and what would mend them."""
    found = []
    bad = [line for line in steady if line.verdict == "fail"]
    for line in sorted(bad, key=lambda line: -abs(line.slope or 0.0))[:3]:
        what = "top singular value" if line.quantity == "sigma" else "gain"
        moves = " is not finite" if line.slope is None else f" goes as m^{line.slope:+.2f}"
        wanted = (
            "" if line.implied_decay is None else f"; a decay of m^{line.implied_decay:.2f} would keep it"
        )
        found.append(f"{line.name}: its {what}{moves}{wanted}")
    if bad:
        found.append("mupwd check --fit measures which decay each kind of layer wants")
    return found


def _decided_by(steady: Sequence[SteadyLine]) -> str:
    if any(line.verdict == "too short" for line in steady):
        return "run longer: the table of slopes says how many steps each width takes"
    return "more widths, or more seeds: the table of slopes says how many decide"


def _next(
    score: RecipeScore,
    mark: Mark,
    steady: Sequence[SteadyLine],
    failed: Sequence[str],
    others: Sequence[str],
) -> list[str]:
    """What a person should do now."""
    base = min(score.widths)
    found = [f"{name} fails the coordinate check: look at its panel first" for name in failed[:3]]
    found += _failing(steady)
    if mark == "good":
        lr, wd = score.tuned
        found.append(
            f"tune at width {base} and use the values at any width: mupwd plan --base {base} --width "
            f"{score.target} --recipe {score.recipe} --learning_rate {lr:g} --weight_decay {wd:g} …"
        )
    elif mark == "bad":
        other = next(iter(others), None)
        found.append(
            f"do not carry values of width {base} over with this rule"
            + (
                f"; recipe {other} transfers here"
                if other
                else "; mupwd check finds the layer that breaks it"
            )
        )
    for what, drift in zip(("learning rate", "weight decay"), _drifts(score), strict=True):
        if drift is None:
            found.append(f"{what}: run three values or more at every width")
        elif drift.verdict == "undecided" and drift.advice:
            found.append(f"{what}: {drift.advice}")
    if any("extend" in one for one in found):
        found.append("mupwd sweep DIR --extend runs the grid beyond its edges")
    return found


def _matrix_factors(run: Run) -> tuple[float, float] | None:
    if run.plan is None:
        return None
    return next(((one.lr, one.wd) for one in run.plan.values() if one.role == "matrix"), None)


def _decay(value: float) -> str:
    return power(math.log2(value)) if value > 0 else "0"


def _said(sentence: Sentence) -> dict[str, str]:
    return {"mark": sentence.mark, "text": sentence.text}
