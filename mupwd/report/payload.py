"""All that the page draws, as JSON types."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mupwd.report.curves import axis_names, loss_range
from mupwd.report.curves import panels as loss_panels
from mupwd.report.drawn import drawn
from mupwd.report.headline import instead
from mupwd.report.heat import heatmaps
from mupwd.report.judge import Judged, describe, judge
from mupwd.report.manifests import manifest_rows
from mupwd.report.pack import Packer
from mupwd.report.runs import Group, Run, pair_name
from mupwd.report.setting import Setting
from mupwd.report.spectra import losses, panels
from mupwd.report.units import Units, units_of
from mupwd.report.unscored import unscored
from mupwd.report.verdicts import compared, steady_verdict, verdict
from mupwd.report.widths import Key, lines_json, steady_lines
from mupwd.transfer import RecipeScore
from mupwd.transfer.steady import SteadyLine

_NOTES = 60  # a directory of nothing but damaged files is told apart from one with a few


def payload(groups: Sequence[Group]) -> dict[str, Any]:
    """Returns what the page draws; numbers that are not finite are None, or stand in the packed series.

    Args:
      groups: what `collect` returns.
    """
    labels = _labels(groups)
    packer = Packer()
    runs = [(group, run) for group in groups for run in group.runs]
    names = [labels[group.name, run.recipe] for group, run in runs]
    judged = [judge(group) for group in groups]
    settings = [describe(group) for group in groups]
    verdicts: list[dict[str, Any]] = []
    comparisons: list[dict[str, str]] = []
    loss: list[dict[str, Any]] = []
    slopes: list[dict[str, Any]] = []
    kept: list[bool] = []  # whether a run is drawn against step
    for group, some, setting in zip(groups, judged, settings, strict=True):
        own = {recipe: labels[group.name, recipe] for recipe in _recipes(group)}
        lines = steady_lines(group)
        shown = drawn(group, some.scores)
        kept += shown
        pairs = {(run.recipe, run.pair) for run, is_shown in zip(group.runs, shown, strict=True) if is_shown}
        for (recipe, lr, wd), found in lines.items():
            pair = pair_name(lr, wd)
            if (recipe, pair) in pairs or not group.runs:
                slopes.append({"recipe": own[recipe], "pair": pair, "lines": lines_json(found)})
        units = {recipe: units_of(group, score) for recipe, score in some.scores.items()}
        verdicts += _cards(group, some, own, lines, units, setting)
        comparisons += compared(some.scores, own, setting)
        decay = setting.decay if setting else "coupled"
        for base in dict.fromkeys(one.base for one in units.values()):
            alike = {recipe: score for recipe, score in some.scores.items() if units[recipe].base == base}
            loss.append(_loss(alike, own, group, decay, base))
    checks = [_check(group, name, found) for group in groups for name, found in group.checks.items()]
    scores = [score for one in judged for score in one.scores.values()]
    scored = [setting for one, setting in zip(judged, settings, strict=True) if one.scores]
    found = {
        "version": 1,
        "title": _title(scores, groups),
        "unit": "nats/token" if scored and None not in scored else "",
        "widths": sorted({run.width for _, run in runs} | {width for one in scores for width in one.widths}),
        "recipes": list(dict.fromkeys([*(one["label"] for one in verdicts), *names])),
        "runs": [
            {**_run(run, name), "drawn": shown}
            for (_, run), name, shown in zip(runs, names, kept, strict=True)
        ],
        "verdicts": verdicts,
        "comparison": comparisons,
        "loss": loss,
        "curves": losses([(n, run) for n, (_, run) in enumerate(runs) if kept[n]], packer),
        "spectra": panels([run for _, run in runs], names, kept, packer),
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


def _cards(
    group: Group,
    judged: Judged,
    labels: Mapping[str, str],
    lines: dict[Key, list[SteadyLine]],
    units: Mapping[str, Units],
    setting: Setting | None,
) -> list[dict[str, Any]]:
    """What the first panel says of each recipe of a group, in the group's order."""
    listed = group.checks.get("coordinates", {}).get("failed", [])
    failed = [str(one) for one in listed] if isinstance(listed, list) else []
    others = instead(judged.scores, labels)
    # Of several pairs the first: cards are of recipes.
    alone = {recipe: some for (recipe, _, _), some in reversed(lines.items()) if recipe not in judged.scores}
    found: list[dict[str, Any]] = []
    for recipe in dict.fromkeys(_recipes(group)):
        label, score = labels[recipe], judged.scores.get(recipe)
        if score is not None:
            steady = lines.get((recipe, *score.tuned), [])
            found.append(verdict(score, label, setting, units[recipe], steady, failed, others))
            continue
        if recipe in alone:
            found.append(steady_verdict(label, alone[recipe]))
        if recipe in judged.reasons:
            runs = [run for run in group.runs if run.recipe == recipe]
            card = unscored(label, runs, judged.reasons[recipe], others)
            # One card a recipe: where its steady state is known that says more than that losses cannot be compared.
            if recipe not in alone:
                found.append(card)
            else:
                found[-1]["sentences"] += card["sentences"]
                found[-1]["next"] += card["next"]
    return found


def _run(run: Run, label: str) -> dict[str, Any]:
    step = run.metrics.get("step", math.nan)
    return {
        "name": run.name,
        "recipe": label,
        "width": run.width,
        "pair": run.pair,
        "seed": run.seed,
        "status": run.status,
        "step": int(step) if 0 <= step < 2**53 else run.log.last_step,
    }


def _loss(
    scores: Mapping[str, RecipeScore], labels: Mapping[str, str], group: Group, decay: str, base: int
) -> dict[str, Any]:
    return {
        "axes": axis_names(decay),
        "range": loss_range(scores),
        "base": base,
        "panels": [{**dataclasses.asdict(one), "recipe": labels[one.recipe]} for one in loss_panels(scores)],
        "heat": [
            {**one, "recipe": labels[recipe]}
            for recipe, score in scores.items()
            for one in heatmaps(score, [run for run in group.runs if run.recipe == recipe])
        ],
        "pairs": {labels[recipe]: pair_name(*score.tuned) for recipe, score in scores.items()},
    }


def _check(group: Group, name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "group": group.name,
        "what": name,
        "found": found if name != "steady" else {"verdict": found.get("verdict")},
    }


def _title(scores: Sequence[RecipeScore], groups: Sequence[Group]) -> str:
    spans = {(one.tuned_at, one.target) for one in scores}
    if len(spans) == 1:
        ((tuned_at, target),) = spans
        if tuned_at == target:
            return f"Tuned at width {target}"
        return f"Tuned at width {tuned_at}, applied at width {target}"
    count = sum(len(group.runs) for group in groups)
    return f"{count} run{'s'[: count != 1]} of {', '.join(group.name for group in groups)}"


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
