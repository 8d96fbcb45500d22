"""All that the page draws, as JSON types."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mupwd.report.collect import Group, Run, pair_name
from mupwd.report.curves import axis_names, loss_range
from mupwd.report.curves import panels as loss_panels
from mupwd.report.drawn import drawn
from mupwd.report.heat import heatmaps
from mupwd.report.manifests import manifest_rows
from mupwd.report.pack import Packer
from mupwd.report.spectra import losses, panels
from mupwd.report.verdicts import compared, describe, judge, matrix_factors, overall, steady_verdict, verdict
from mupwd.report.widths import lines_json, steady_lines
from mupwd.transfer import RecipeScore

_NOTES = 60  # a directory of nothing but damaged files is told apart from one with a few


def payload(groups: Sequence[Group]) -> dict[str, Any]:
    """Returns what the page draws; numbers that are not finite are None, or stand in the packed series.

    Args:
      groups: what `collect` returns.
    """
    labels = _labels(groups)
    packer = Packer()
    runs = [(group, run) for group in groups for run in group.runs]
    scored = [(group, judge(group)) for group in groups]
    verdicts: list[dict[str, Any]] = []
    comparisons: list[dict[str, str]] = []
    loss: list[dict[str, Any]] = []
    slopes: list[dict[str, Any]] = []
    kept: list[bool] = []  # whether a run is drawn against step
    settings = [describe(group) for group in groups]
    for (group, scores), setting in zip(scored, settings, strict=True):
        factors = dict(setting.matrix) if setting else matrix_factors(group)
        lines = steady_lines(group)
        shown = drawn(group, scores)
        kept += [(run.recipe, run.pair) in shown for run in group.runs]
        for (recipe, lr, wd), some in lines.items():
            pair = pair_name(lr, wd)
            if (recipe, pair) in shown or not group.runs:
                slopes.append({"recipe": labels[group.name, recipe], "pair": pair, "lines": lines_json(some)})
        failed = [str(one) for one in group.checks.get("coordinates", {}).get("failed", [])]
        fine = [labels[group.name, recipe] for recipe, score in scores.items() if overall(score) == "good"]
        for recipe, score in scores.items():
            steady = lines.get((recipe, *score.tuned), [])
            label = labels[group.name, recipe]
            others = [one for one in fine if one != label]
            verdicts.append(verdict(score, label, setting, factors.get(recipe), steady, failed, others))
        # Of several pairs the first: cards are of recipes.
        alone = {recipe: some for (recipe, _, _), some in reversed(lines.items()) if recipe not in scores}
        verdicts += [steady_verdict(labels[group.name, recipe], some) for recipe, some in alone.items()]
        comparisons += compared(scores, {recipe: labels[group.name, recipe] for recipe in scores})
        if scores:
            decay = setting.decay if setting else "coupled"
            loss.append(_loss(scores, labels, group, decay))
    checks = [_check(group, name, found) for group in groups for name, found in group.checks.items()]
    found = {
        "version": 1,
        "title": _title(scored, groups),
        "widths": sorted({run.width for _, run in runs} | _widths(scored)),
        "recipes": list(dict.fromkeys([*(one["label"] for one in verdicts), *_of_runs(runs, labels)])),
        "runs": [
            {**_run(group, run, labels), "drawn": shown}
            for (group, run), shown in zip(runs, kept, strict=True)
        ],
        "verdicts": verdicts,
        "comparison": comparisons,
        "loss": loss,
        "curves": losses([(n, run) for n, (_, run) in enumerate(runs) if kept[n]], packer),
        "spectra": panels([run for _, run in runs], kept, packer),
        "slopes": slopes,
        "checks": checks,
        "manifest": [manifest_rows(*one) for one in zip(groups, settings, strict=True)],
        "notes": _notes(groups),
    }
    return {**_finite(found), "numbers": packer.packed()}


def as_text(found: Mapping[str, Any]) -> str:
    """Returns a payload as JSON.

    Args:
      found: what `payload` returned.
    """
    return json.dumps(found, allow_nan=False, separators=(",", ":"))


def _labels(groups: Sequence[Group]) -> dict[tuple[str, str], str]:
    """`{(group, recipe): what the page calls it}`: the recipe, and its directory where several have it."""
    names = Counter()
    # Two directories may have one name.
    for group in groups:
        names[group.name] += 1
        if names[group.name] > 1:
            group.name = f"{group.name} ({names[group.name]})"
    held = [(group.name, recipe) for group in groups for recipe in dict.fromkeys(_recipes(group))]
    times = Counter(recipe for _, recipe in held)
    return {
        (name, recipe): (recipe or name) + (f" in {name}" if times[recipe] > 1 and recipe else "")
        for name, recipe in held
    }


def _recipes(group: Group) -> list[str]:
    steady = group.checks.get("steady", {}).get("recipe")
    return [*(group.scores or {}), *(run.recipe for run in group.runs), *([str(steady)] if steady else [])]


def _of_runs(runs: Sequence[tuple[Group, Run]], labels: Mapping[tuple[str, str], str]) -> list[str]:
    return [labels[group.name, run.recipe] for group, run in runs]


def _run(group: Group, run: Run, labels: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    step = run.metrics.get("step")
    return {
        "name": run.name,
        "recipe": labels[group.name, run.recipe],
        "width": run.width,
        "pair": run.pair,
        "seed": run.seed,
        "status": run.status,
        "step": step if isinstance(step, int) else run.log.last_step,
    }


def _loss(
    scores: Mapping[str, RecipeScore], labels: Mapping[tuple[str, str], str], group: Group, decay: str
) -> dict[str, Any]:
    name = {recipe: labels[group.name, recipe] for recipe in scores}
    return {
        "axes": axis_names(decay),
        "range": loss_range(scores),
        "base": min(width for score in scores.values() for width in score.widths),
        "panels": [{**dataclasses.asdict(one), "recipe": name[one.recipe]} for one in loss_panels(scores)],
        "heat": [
            {**one, "recipe": name[recipe]}
            for recipe, score in scores.items()
            for one in heatmaps(score, [run for run in group.runs if run.recipe == recipe])
        ],
        "pairs": {name[recipe]: pair_name(*score.tuned) for recipe, score in scores.items()},
    }


def _check(group: Group, name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "group": group.name,
        "what": name,
        "found": found if name != "steady" else {"verdict": found.get("verdict")},
    }


def _title(scored: Sequence[tuple[Group, Mapping[str, RecipeScore]]], groups: Sequence[Group]) -> str:
    some = [score for _, scores in scored for score in scores.values()]
    if some:
        base, target = min(min(one.widths) for one in some), max(one.target for one in some)
        return f"Tuned at width {base}, applied at width {target}"
    count = sum(len(group.runs) for group in groups)
    return f"{count} run{'s'[: count != 1]} of {', '.join(group.name for group in groups)}"


def _widths(scored: Sequence[tuple[Group, Mapping[str, RecipeScore]]]) -> set[int]:
    return {width for _, scores in scored for score in scores.values() for width in score.widths}


def _notes(groups: Sequence[Group]) -> list[str]:
    notes = list(dict.fromkeys(note for group in groups for note in group.notes))
    more = len(notes) - _NOTES
    return notes if more <= 0 else [*notes[:_NOTES], f"and {more} more"]


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
