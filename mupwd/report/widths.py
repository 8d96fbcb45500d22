"""The panel of singular values and gains against width: fitted slopes against what the rule promises."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mupwd.report.late import late
from mupwd.report.runs import Group, Run
from mupwd.transfer.steady import TOLERANCE, SteadyLine, judge_steady_state
from mupwd.transfer.steady_state import ELAPSED, SteadyRun
from mupwd.transfer.steady_trials import check_widths

_MARKS = {"pass": "good", "fail": "bad"}
Key = tuple[str, float, float]
"""Recipe, learning rate, weight decay."""


def steady_lines(group: Group) -> dict[Key, list[SteadyLine]]:
    """Returns the slopes over the widths, by recipe and pair; why a recipe has none is added to the group's notes.

    Args:
      group: with its runs.
    """
    by_key: dict[Key, list[Run]] = defaultdict(list)
    for run in group.runs:
        observed = any(name.startswith(("spectral/", "gain/")) for name in run.metrics)
        if observed and run.width and run.status in ("finished", "diverged"):
            by_key[run.recipe, run.learning_rate, run.weight_decay].append(run)
    found: dict[Key, list[SteadyLine]] = {}
    reasons: dict[str, str] = {}
    for key, some in by_key.items():
        widths = sorted({run.width for run in some})
        try:
            check_widths(widths, [run.seed for run in some])
            found[key] = _judged(some, widths)
        except ValueError as error:
            reasons.setdefault(key[0], str(error))
    checked = group.checks.get("steady")
    if checked is not None:
        try:
            key, lines = _of_check(checked, group.runs)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            group.notes.append(f"steady.json is left out: {type(error).__name__}: {error}")
        else:
            found[key] = lines
    known = {recipe for recipe, _, _ in found}
    group.notes += [
        f"no slopes over the widths for recipe {recipe}: {why}"
        for recipe, why in reasons.items()
        if recipe not in known
    ]
    return found


def lines_json(lines: Iterable[SteadyLine]) -> list[dict[str, Any]]:
    """Returns the lines as JSON types.

    Args:
      lines: of one recipe and pair.
    """
    return [
        {
            "name": line.name,
            "quantity": line.quantity,
            "values": {str(width): [_number(one) for one in some] for width, some in line.values.items()},
            "slope": _number(line.slope),
            "interval": None if line.interval is None else [_number(one) for one in line.interval],
            "predicted": 0.0,
            "tolerance": TOLERANCE if line.quantity == "sigma" else 2 * TOLERANCE,
            "verdict": line.verdict,
            "mark": _MARKS.get(line.verdict, "open"),
            "implied": _number(line.implied_decay),
            "note": _note(line),
        }
        for line in lines
    ]


def _judged(runs: Sequence[Run], widths: Sequence[int]) -> list[SteadyLine]:
    plans = {run.width: run.plan for run in runs if run.plan is not None}
    if lost := [width for width in widths if width not in plans]:
        raise ValueError(f"no plan.json at width {', '.join(map(str, lost))}")
    some = [
        SteadyRun(run.width, run.learning_rate, run.weight_decay, run.seed, {**late(run), **run.metrics})
        for run in runs
    ]
    if any(ELAPSED not in run.metrics for run in some):
        raise ValueError(
            "log train/learning_rate, or return train/decay_elapsed: without it nobody can tell whether runs lasted "
            "long enough"
        )
    return list(judge_steady_state(some, plans).lines)


def _of_check(checked: Mapping[str, Any], runs: Sequence[Run]) -> tuple[Key, list[SteadyLine]]:
    """The lines that `mupwd check --steady` wrote, and which runs they are of."""
    names = {one.name for one in dataclasses.fields(SteadyLine)}
    lines = []
    for line in checked["lines"]:
        fields = {name: value for name, value in line.items() if name in names}
        for name in ("values", "elapsed", "steps"):
            if fields.get(name) is not None:
                fields[name] = {int(width): value for width, value in fields[name].items()}
        if fields.get("interval") is not None:
            low, high = fields["interval"]
            fields["interval"] = (float(low), float(high))
        fields["values"] = {
            width: tuple(float(one) for one in some) for width, some in fields["values"].items()
        }
        lines.append(SteadyLine(**fields))
    recipe = str(checked["recipe"])
    pairs = [(run.learning_rate, run.weight_decay) for run in runs if run.recipe == recipe]
    pair = max(set(pairs), key=pairs.count) if pairs else (math.nan, math.nan)
    return (recipe, *pair), lines


def _note(line: SteadyLine) -> str:
    if line.verdict == "too short" and line.steps:
        fewest, most = min(line.steps.values()), max(line.steps.values())
        return f"needs {most:,} steps" if fewest == most else f"needs {fewest:,} to {most:,} steps, by width"
    if line.verdict == "undecided":
        more = []
        if line.more_seeds:
            more.append(f"{line.more_seeds} more seed{'s'[: line.more_seeds != 1]}")
        if line.more_widths:
            more.append(f"{line.more_widths} more width{'s'[: line.more_widths != 1]}")
        return "; ".join([*filter(None, [line.note]), *([f"decided by {' or '.join(more)}"] if more else [])])
    return line.note


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
