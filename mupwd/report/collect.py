"""Directories as data: runs, sweeps, studies and checks, whatever state their files are in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mupwd.files import is_temporary
from mupwd.plan import Plan, PlanError
from mupwd.proxy import manifest as manifests
from mupwd.proxy.metrics_log import FILE_NAME as LOG_NAME
from mupwd.proxy.metrics_log import NOT_FINITE
from mupwd.report.logs import Log, log_of, read_log
from mupwd.report.setting import Setting
from mupwd.sweep.trial import LOSS, Result
from mupwd.transfer import Observation, RecipeScore

CHECKS = ("coordinates", "steady", "exponent")
_OBSERVED = ("spectral/", "update/", "gain/")


@dataclass
class Run:
    """One training run or trial.

    Attributes:
      name: of its directory, or of its result.
      recipe: its name; empty where unknown.
      width: of the model; 0 where unknown.
      learning_rate: at the base; NaN where unknown.
      weight_decay: at the base; NaN where unknown.
      seed: of initial values and data.
      status: "finished", "diverged", "stopped" or "running": it has no result (yet).
      metrics: that it ended with; empty where it has not ended.
      hyperparameters: all that it was given.
      log: what it wrote on the way.
      plan: of its width; None where it has none.
      manifest: what it ran on; empty where unknown.
      seconds: that it took; NaN where unknown.
    """

    name: str
    recipe: str = ""
    width: int = 0
    learning_rate: float = math.nan
    weight_decay: float = math.nan
    seed: int = 0
    status: str = "running"
    metrics: dict[str, Any] = field(default_factory=dict)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    log: Log = field(default_factory=Log)
    plan: Plan | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    seconds: float = math.nan

    @property
    def pair(self) -> str:
        """What the page calls its learning rate and decay."""
        return pair_name(self.learning_rate, self.weight_decay)

    def observation(self) -> Observation | None:
        """Returns what a finished run says of its hyperparameters; None where it says nothing."""
        if self.status == "running" or not self.width or LOSS not in self.metrics:
            return None
        loss = self.metrics[LOSS]
        known = isinstance(loss, float | int) and math.isfinite(loss) and self.status != "stopped"
        return Observation(
            self.recipe,
            self.width,
            self.learning_rate,
            self.weight_decay,
            self.seed,
            float(loss) if known else math.inf,
            self.status == "stopped",
        )


@dataclass
class Group:
    """Runs whose losses compare: one sweep, study or check, or the single runs of one model on one corpus.

    Attributes:
      name: of the directory; "runs" for single runs, or "runs of 400 steps" where some are longer than others.
      runs: by recipe, the narrowest first.
      checks: `{"coordinates", "steady" or "exponent": what the file holds}`.
      manifest: of the directory; empty where there is none.
      order: of the recipes, as they were declared; those that were not come last.
      notes: what was left out, and why.
      scores: the verdict; None: to be made from the runs.
      setting: how trials were run; None: not known.
    """

    name: str
    runs: list[Run] = field(default_factory=list)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scores: Mapping[str, RecipeScore] | None = None
    setting: Setting | None = None


def pair_name(learning_rate: float, weight_decay: float) -> str:
    """Returns the two as one word; an empty one where they are not known."""
    return "" if math.isnan(learning_rate) else f"{learning_rate!r},{weight_decay!r}"


def collect(directories: Iterable[Path]) -> list[Group]:
    """Returns what directories hold, single runs of one model, corpus and length together.

    Args:
      directories: of runs, sweeps, studies or checks.

    Raises:
      FileNotFoundError: one does not exist.
      ValueError: one holds none of these.
      OSError: a file cannot be read.
    """
    groups: list[Group] = []
    single: dict[str, Group] = {}
    for directory in directories:
        if not directory.is_dir():
            raise FileNotFoundError(f"{directory} is no directory; give those of runs, sweeps or checks")
        if not _is_run(directory):
            group = collect_directory(directory)
            if not group.runs and not group.checks and not (directory / "trials").is_dir():
                raise ValueError(
                    f"{directory} holds no run (no {LOG_NAME}), no sweep (no trials/) and no check "
                    f"({', '.join(f'{name}.json' for name in CHECKS)}); give directories that do"
                )
            groups.append(group)
            continue
        notes: list[str] = []
        run = _single(directory, notes)
        about = run.manifest.get("run")
        about = about if isinstance(about, dict) else {}
        key = json.dumps([about.get("corpus"), about.get("proxy")], sort_keys=True)
        if key not in single:
            single[key] = Group("runs", manifest=run.manifest)
            groups.append(single[key])
        single[key].runs.append(run)
        single[key].notes += notes
    alone = {id(group) for group in single.values()}
    groups = [some for group in groups for some in (_by_length(group) if id(group) in alone else [group])]
    for group in groups:
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
    return groups


def _by_length(group: Group) -> list[Group]:
    """One group per number of steps where a width ran with several; widths may differ, as with tokens per parameter."""
    steps = [run.hyperparameters.get("steps") for run in group.runs]
    at = {(run.width, count) for run, count in zip(group.runs, steps, strict=True)}
    if len(at) == len({width for width, _ in at}):
        return [group]
    found: dict[Any, Group] = {}
    for run, count in zip(group.runs, steps, strict=True):
        name = "runs of unknown length" if count is None else f"runs of {count} steps"
        found.setdefault(count, Group(name, manifest=run.manifest)).runs.append(run)
    next(iter(found.values())).notes = group.notes
    return list(found.values())


def collect_directory(directory: Path) -> Group:
    """Returns what the directory of a sweep, study or check holds, which may be nothing.

    Args:
      directory: that exists.
    """
    group = Group(directory.resolve().name)
    group.manifest = _object(directory / manifests.FILE_NAME, group.notes)
    for name in CHECKS:
        if found := _object(directory / f"{name}.json", group.notes):
            group.checks[name] = found
    group.runs = list(_trials(directory / "trials", group.notes))
    # Plans decide what spectra mean; those of one recipe and width are the same.
    plans = {(run.recipe, run.width): run.plan for run in group.runs if run.plan is not None}
    for run in group.runs:
        run.plan = plans.get((run.recipe, run.width))
    declared = _object(directory / "sweep.json", group.notes).get("recipes")
    group.order = [str(one) for one in declared] if isinstance(declared, list) else []
    return group


def _is_run(directory: Path) -> bool:
    if (directory / LOG_NAME).exists():
        return True
    run = _object(directory / manifests.FILE_NAME, []).get("run")
    return isinstance(run, dict) and "width" in run


def _trials(folder: Path, notes: list[str]) -> Iterator[Run]:
    if not folder.is_dir():
        return
    entries = sorted(entry for entry in folder.iterdir() if not is_temporary(entry.name))
    finished = {entry.stem for entry in entries if entry.suffix == ".json"}
    for entry in entries:
        if entry.suffix == ".json":
            if run := _trial(entry, notes):
                yield run
        elif entry.is_dir() and entry.name not in finished and _is_run(entry):
            yield _single(entry, notes)


def _trial(file: Path, notes: list[str]) -> Run | None:
    try:
        result = Result.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        notes.append(f"{file.name} is left out: {_first_line(error)}")
        return None
    trial, folder = result.trial, file.with_suffix("")
    given = dict(trial.hyperparameters)
    diverged = result.metrics.get("status") == "diverged" or not math.isfinite(result.loss)
    run = Run(
        file.stem,
        str(given.get("recipe", "")),
        trial.width,
        given["learning_rate"],
        given["weight_decay"],
        trial.seed,
        "stopped" if trial.stop_at is not None and not diverged else "diverged" if diverged else "finished",
        dict(result.metrics),
        given,
        seconds=result.seconds,
    )
    _add_log(run, folder, notes)
    observed = any(name.startswith(_OBSERVED) for name in (*run.log.series, *run.metrics))
    if not run.log.series and observed:
        step = run.metrics.get("step")
        run.log = log_of(run.metrics, step if isinstance(step, int) else 0)
    run.plan = _plan(folder, notes)
    return run


def _single(directory: Path, notes: list[str]) -> Run:
    manifest = _object(directory / manifests.FILE_NAME, notes)
    about = manifest.get("run")
    about = about if isinstance(about, dict) else {}
    metrics = {
        name: NOT_FINITE.get(value, value) if isinstance(value, str) else value
        for name, value in _object(directory / "result.json", notes).items()
    }
    width, seed = about.get("width"), about.get("seed")
    train = about.get("train")
    run = Run(
        directory.resolve().name,
        str(about.get("recipe", "")),
        width if isinstance(width, int) and width > 0 else 0,
        _float(about.get("learning_rate")),
        _float(about.get("weight_decay")),
        seed if isinstance(seed, int) else 0,
        str(metrics.get("status", "running")),
        metrics,
        {**(train if isinstance(train, dict) else {}), "base": about.get("base")},
        plan=_plan(directory, notes),
        manifest=manifest,
    )
    _add_log(run, directory, notes)
    return run


def _add_log(run: Run, directory: Path, notes: list[str]) -> None:
    run.log = read_log(directory)
    if run.log.left_out:
        lines = "1 line is no record" if run.log.left_out == 1 else f"{run.log.left_out} lines are no records"
        notes.append(f"{run.name}/{LOG_NAME}: {lines}, and left out")


def _plan(directory: Path, notes: list[str]) -> Plan | None:
    file = directory / manifests.PLAN_NAME
    if not file.exists():
        return None
    try:
        return Plan.load(file)
    except PlanError as error:
        notes.append(f"{directory.name}/plan.json is left out: {_first_line(error)}")
        return None


def _object(file: Path, notes: list[str]) -> dict[str, Any]:
    """What a JSON file holds; empty where there is none or it is damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, RecursionError) as error:
        notes.append(f"{file.parent.name}/{file.name} is left out: {_first_line(error)}")
        return {}
    if not isinstance(found, dict):
        notes.append(f"{file.parent.name}/{file.name} is left out: it is no JSON object")
        return {}
    return found


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
