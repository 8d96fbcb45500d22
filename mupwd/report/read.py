"""One run, trial or JSON file from disk: what cannot be read is left out, and a note says so."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from mupwd.files import is_temporary, read_json
from mupwd.plan import Plan, PlanError
from mupwd.proxy import manifest as manifests
from mupwd.proxy.metrics_log import FILE_NAME as LOG_NAME
from mupwd.report.logs import Log, as_number, log_of, read_log
from mupwd.report.runs import Run, as_mapping
from mupwd.sweep.trial import Result

_OBSERVED = ("spectral/", "update/", "gain/")
_WIDEST = 2**31  # wider than any model; a number of hundreds of digits is no width
_WORDS = ("status",)  # metrics that are no numbers


def name_of(path: Path) -> str:
    """Returns a file's name as text that can be written anywhere: bytes that are no UTF-8 become "�".

    Args:
      path: of a file or a directory.
    """
    return os.fsencode(path.name).decode("utf-8", "replace")


def is_run(directory: Path) -> bool:
    """Returns whether a directory is that of one run.

    Args:
      directory: that exists.
    """
    if os.path.lexists(directory / LOG_NAME):
        return True
    return "width" in as_mapping(read_object(directory / manifests.FILE_NAME, []).get("run"))


def read_trials(folder: Path, notes: list[str]) -> Iterator[Run]:
    """Yields the trials of a sweep: those with a result, and those that are still running.

    Args:
      folder: that holds them; it need not exist.
      notes: what is left out is added.
    """
    if not folder.is_dir():
        return
    try:
        entries = sorted(entry for entry in folder.iterdir() if not is_temporary(entry.name))
    except OSError as error:
        notes.append(f"{name_of(folder)} is left out: {_first_line(error)}")
        return
    finished = {entry.stem for entry in entries if entry.suffix == ".json"}
    for entry in entries:
        if entry.suffix == ".json":
            if run := _trial(entry, notes):
                yield run
        elif entry.is_dir() and entry.name not in finished and is_run(entry):
            yield read_run(entry, notes)


def read_run(directory: Path, notes: list[str]) -> Run:
    """Returns a single run.

    Args:
      directory: of the run.
      notes: what is left out is added.
    """
    manifest = read_object(directory / manifests.FILE_NAME, notes)
    about = as_mapping(manifest.get("run"))
    metrics = _metrics(read_object(directory / "result.json", notes))
    width, seed = about.get("width"), about.get("seed")
    run = Run(
        name_of(directory.resolve()),
        str(about.get("recipe", "")),
        width if _is_width(width) else 0,
        _known(about.get("learning_rate")),
        _known(about.get("weight_decay")),
        seed if isinstance(seed, int) else 0,
        str(metrics.get("status", "running")),
        metrics,
        {**as_mapping(about.get("train")), "base": about.get("base")},
        plan=_plan(directory, notes),
        manifest=manifest,
    )
    _add_log(run, directory, notes)
    return run


def read_object(file: Path, notes: list[str]) -> dict[str, Any]:
    """Returns what a JSON file holds; empty where there is none or it is damaged.

    Args:
      file: to read.
      notes: why it is left out is added.
    """
    try:
        found = read_json(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        notes.append(f"{_place(file)} is left out: {_first_line(error)}")
        return {}
    if not isinstance(found, dict):
        notes.append(f"{_place(file)} is left out: it is no JSON object")
        return {}
    return found


def _trial(file: Path, notes: list[str]) -> Run | None:
    try:
        result = Result.from_json(read_json(file))
        loss = result.loss
        if not _is_width(result.trial.width):
            raise ValueError("its width is no width of a model")
    # A whole number of hundreds of digits is no float.
    except (OSError, ValueError, TypeError, OverflowError) as error:
        notes.append(f"{name_of(file)} is left out: {_first_line(error)}")
        return None
    trial, folder = result.trial, file.with_suffix("")
    given = dict(trial.hyperparameters)
    diverged = result.metrics.get("status") == "diverged" or not math.isfinite(loss)
    run = Run(
        name_of(folder),
        str(given.get("recipe", "")),
        trial.width,
        given["learning_rate"],
        given["weight_decay"],
        trial.seed,
        "stopped" if trial.stop_at is not None and not diverged else "diverged" if diverged else "finished",
        _metrics(result.metrics),
        given,
        seconds=result.seconds,
    )
    _add_log(run, folder, notes)
    observed = any(name.startswith(_OBSERVED) for name in (*run.log.series, *run.metrics))
    if not run.log.series and observed:
        step = run.metrics.get("step", 0.0)
        run.log = log_of(run.metrics, int(step) if 0 <= step < 2**24 else 0)
    run.plan = _plan(folder, notes)
    return run


def _metrics(found: dict[str, Any]) -> dict[str, Any]:
    """What is a number, as a float, and the words that say how a run ended."""
    numbers = {name: as_number(value) for name, value in found.items()}
    words = {name: found[name] for name in _WORDS if isinstance(found.get(name), str)}
    return {name: value for name, value in numbers.items() if value is not None} | words


def _add_log(run: Run, directory: Path, notes: list[str]) -> None:
    try:
        run.log = read_log(directory)
    except OSError as error:
        run.log = Log()
        notes.append(f"{run.name}/{LOG_NAME} is left out: {_first_line(error)}")
    if run.log.left_out:
        lines = "1 line is no record" if run.log.left_out == 1 else f"{run.log.left_out} lines are no records"
        notes.append(f"{run.name}/{LOG_NAME}: {lines}, and left out")


def _plan(directory: Path, notes: list[str]) -> Plan | None:
    file = directory / manifests.PLAN_NAME
    try:
        plan = Plan.load(file)
        for name in ("base", "width"):
            value = getattr(plan, name)
            if value is not None and not _is_width(value):
                raise ValueError(f"its {name} is {value!r}")
        if not all(isinstance(one, int | float) for own in plan.values() for one in (own.lr, own.wd)):
            raise ValueError("its factors are no numbers")
        return plan
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, OverflowError, RecursionError, PlanError) as error:
        notes.append(f"{_place(file)} is left out: {_first_line(error)}")
        return None


def _place(file: Path) -> str:
    return f"{name_of(file.parent.resolve())}/{file.name}"


def _is_width(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _WIDEST


def _known(value: Any) -> float:
    number = as_number(value)
    return number if number is not None and math.isfinite(number) else math.nan


def _first_line(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.splitlines() or [type(error).__name__])[0]
