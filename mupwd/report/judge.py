"""What the runs of a group say together: a score per recipe, or why there is none, and how they were run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mupwd.proxy.config import TrainConfig
from mupwd.report.runs import Group, as_mapping
from mupwd.report.setting import Setting, ratios_of
from mupwd.report.units import known_bases
from mupwd.transfer import Observation, RecipeScore, scorecard

_DEFAULTS = asdict(TrainConfig())


@dataclass(frozen=True)
class Judged:
    """The recipes of a group.

    Attributes:
      scores: of those that can be judged.
      reasons: why the others, of which runs have ended, cannot.
    """

    scores: Mapping[str, RecipeScore]
    reasons: dict[str, str] = field(default_factory=dict)


def judge(group: Group) -> Judged:
    """Returns the scores of a group's recipes, and why some have none.

    Args:
      group: with its runs.
    """
    if group.scores is not None:
        return Judged(group.scores)
    # The trials of these checks stand at few learning rates and decays on purpose.
    if group.checks.keys() & {"steady", "exponent"}:
        return Judged({})
    observations: dict[str, list[Observation]] = {}
    for run in group.runs:
        one = run.observation()
        if one is not None and one.learning_rate > 0:
            observations.setdefault(run.recipe, []).append(one)
    scores: dict[str, RecipeScore] = {}
    reasons: dict[str, str] = {}
    for recipe, some in observations.items():
        bases = known_bases(run for run in group.runs if run.recipe == recipe)
        if len(bases) > 1:
            reasons[recipe] = (
                f"its runs have bases {', '.join(map(str, bases))}, so that one learning rate means several things"
            )
            continue
        try:
            scores |= scorecard(some)
        except ValueError as error:
            reasons[recipe] = str(error)
    return Judged(scores, reasons)


def describe(group: Group) -> Setting | None:
    """Returns how the trials of a group were run, as far as their files tell; None where they do not.

    Args:
      group: with its runs.
    """
    if group.setting is not None:
        return group.setting
    # What the manifest of the proxy's runs and sweeps holds; a model of one's own has text of its own.
    corpus = as_mapping(group.manifest.get("run")).get("corpus")
    trials = [run for run in group.runs if "steps" in run.hyperparameters]
    if not trials or not isinstance(corpus, dict):
        return None
    target = max(run.width for run in trials)
    # A trial says what it was given; the rest are the proxy's defaults.
    given = _DEFAULTS | next(run.hyperparameters for run in trials if run.width == target)
    if not all(_is_count(given[name]) for name in ("steps", "batch_size", "sequence_length")):
        return None
    return Setting(
        command="",
        model="",
        corpus=str(corpus.get("source", "")),
        corpus_sha256=str(corpus.get("sha256", "")),
        steps=given["steps"],
        tokens=given["batch_size"] * given["sequence_length"],
        seeds=tuple(sorted({run.seed for run in trials})),
        decay=str(given["decay"]),
        matrix={},
        trials=len(trials),
        trial_seconds=sum(run.seconds for run in trials if run.seconds == run.seconds),
        environment=as_mapping(group.manifest.get("environment")),
        ratios={name: value for name, value in ratios_of(given).items() if isinstance(value, int | float)},
        notices={
            run.recipe: run.plan.notices
            for run in group.runs
            if run.width == target and run.plan is not None and run.plan.notices
        },
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53
