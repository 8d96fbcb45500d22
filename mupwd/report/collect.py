"""Directories as groups of runs: sweeps, studies and checks, and single runs whose losses compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mupwd.proxy import manifest as manifests
from mupwd.proxy.metrics_log import FILE_NAME as LOG_NAME
from mupwd.report.read import is_run, name_of, read_object, read_run, read_trials
from mupwd.report.runs import Group, Run, as_mapping

CHECKS = ("coordinates", "steady", "exponent")
# A run's length tells groups apart only where a width ran with several; the others change no loss.
_NOT_TOLD_APART = {
    "steps",
    "warmup",
    "log_every",
    "eval_every",
    "observe_every",
    "checkpoint_every",
    "keep_checkpoints",
    "sharding",
}
_SHOWN = 40  # characters of a setting in a group's name


def collect(directories: Iterable[Path]) -> list[Group]:
    """Returns what directories hold; single runs of one model, corpus, base, training and length are one group.

    Args:
      directories: of runs, sweeps, studies or checks. One that holds nothing is noted where others hold something.

    Raises:
      FileNotFoundError: one does not exist.
      ValueError: none of them holds anything.
    """
    groups: list[Group] = []
    single: dict[int, dict[str, str]] = {}  # of groups of single runs, by their places: what their runs share
    empty: list[str] = []
    for directory in directories:
        if not directory.is_dir():
            raise FileNotFoundError(f"{directory} is no directory; give those of runs, sweeps or checks")
        if is_run(directory):
            notes: list[str] = []
            run = read_run(directory, notes)
            shared = _shared(run)
            place = next((place for place, other in single.items() if other == shared), len(groups))
            if place == len(groups):
                groups.append(Group("runs", manifest=run.manifest))
                single[place] = shared
            groups[place].runs.append(run)
            groups[place].notes += notes
            continue
        group = collect_directory(directory)
        if group.runs or group.checks or (directory / "trials").is_dir():
            groups.append(group)
        else:
            checks = ", ".join(f"{name}.json" for name in CHECKS)
            what = f"no run (no {LOG_NAME}), no sweep (no trials/) and no check ({checks})"
            empty += [f"{name_of(directory.resolve())} holds {what}", *group.notes]
    if not groups:
        raise ValueError(f"{'; '.join(empty)}; give directories that do")
    groups[0].notes += empty
    for place, differs in zip(single, _differences(list(single.values())), strict=True):
        groups[place].name += f" with {differs}" if differs else ""
    groups = [
        some
        for place, group in enumerate(groups)
        for some in (_by_length(group) if place in single else [group])
    ]
    for group in groups:
        _sort(group)
    return groups


def collect_directory(directory: Path) -> Group:
    """Returns what the directory of a sweep, study or check holds, which may be nothing.

    Args:
      directory: that exists.
    """
    group = Group(name_of(directory.resolve()))
    group.manifest = read_object(directory / manifests.FILE_NAME, group.notes)
    for name in CHECKS:
        if found := read_object(directory / f"{name}.json", group.notes):
            group.checks[name] = found
    group.runs = list(read_trials(directory / "trials", group.notes))
    # Plans decide what spectra mean; those of one recipe and width are the same.
    plans = {(run.recipe, run.width): run.plan for run in group.runs if run.plan is not None}
    for run in group.runs:
        run.plan = plans.get((run.recipe, run.width))
    declared = read_object(directory / "sweep.json", group.notes).get("recipes")
    group.order = [str(one) for one in declared] if isinstance(declared, list) else []
    return group


def _shared(run: Run) -> dict[str, str]:
    """What single runs must have in common for their losses to compare, by name."""
    about = as_mapping(run.manifest.get("run"))
    train = {
        name: value for name, value in as_mapping(about.get("train")).items() if name not in _NOT_TOLD_APART
    }
    found: dict[str, Any] = {"base": run.base or None}
    for part in (about.get("corpus"), about.get("proxy"), train):
        found |= part if isinstance(part, Mapping) else {"corpus": part}
    return {name: str(value) for name, value in found.items() if value is not None}


def _differences(some: Sequence[Mapping[str, str]]) -> list[str]:
    """What each group has that not all have: "base 64, layers 2"."""
    names = dict.fromkeys(name for one in some for name in one)
    differing = [name for name in names if len({one.get(name) for one in some}) > 1]
    return [
        ", ".join(f"{name} {one[name][:_SHOWN]}" if name in one else f"no {name}" for name in differing)
        for one in some
    ]


def _by_length(group: Group) -> list[Group]:
    """One group per number of steps where a width ran with several; widths may differ, as with tokens per parameter."""
    steps = [run.hyperparameters.get("steps") for run in group.runs]
    steps = [count if isinstance(count, int) else None for count in steps]
    at = {(run.width, count) for run, count in zip(group.runs, steps, strict=True)}
    if len(at) == len({width for width, _ in at}):
        return [group]
    found: dict[int | None, Group] = {}
    for run, count in zip(group.runs, steps, strict=True):
        length = "unknown length" if count is None else f"{count} steps"
        name = group.name.replace("runs", f"runs of {length}", 1)
        found.setdefault(count, Group(name, manifest=run.manifest)).runs.append(run)
    next(iter(found.values())).notes = group.notes
    return list(found.values())


def _sort(group: Group) -> None:
    places = {recipe: place for place, recipe in enumerate(group.order)}
    group.runs.sort(
        key=lambda run: (
            places.get(run.recipe, len(places)),
            run.recipe,
            run.width,
            run.learning_rate,
            run.weight_decay,
            run.seed,
        )
    )
