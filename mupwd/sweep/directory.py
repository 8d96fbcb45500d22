"""Runs a study in a directory of its own: what it is, its trials, and the processes that work on it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from mupwd.proxy.disk import write_atomic
from mupwd.proxy.manifest import environment, open_manifest, read_manifest
from mupwd.sweep.calibration import Calibration
from mupwd.sweep.claims import Claims
from mupwd.sweep.drive import run_study
from mupwd.sweep.fixed import Wanted
from mupwd.sweep.gpus import Gpu, gpus_of, visible_gpus
from mupwd.sweep.interrupts import Interrupts
from mupwd.sweep.known import Known, Ran
from mupwd.sweep.local import LocalExecutor
from mupwd.sweep.progress import SweepProgress
from mupwd.sweep.runner import Runner
from mupwd.sweep.store import Store
from mupwd.sweep.workers import Workers, supervise

_MOST_PROCESSES = 8
_MOST_GIVEN = 1024  # each is a Python with JAX of its own
_CLUSTER = {"platform": "cluster"}
_ENVIRONMENTS = "environments"


@dataclass(frozen=True)
class Cluster:
    """Workers elsewhere, and how many of them are kept running."""

    workers: Workers
    count: int


def run_in_directory(
    study: Wanted,
    directory: Path,
    runner: Runner,
    decided: Mapping[str, Any],
    opening: str,
    processes: int,
    console: Console | None = None,
    retries: int = 0,
    opened: Callable[[Callable[[str], None]], None] = lambda notify: None,
    cluster: Cluster | None = None,
    losses: int | None = None,
) -> Ran:
    """Runs what is missing; the same call goes on where an earlier one was stopped, or shares the work of one.

    Args:
      study: says which trials.
      directory: for manifest.json, trials/, and environments/, where trials ran on something else than the first.
      runner: runs the trials.
      decided: everything that must not change between calls, as JSON types.
      opening: told before the first trial.
      processes: that run trials at the same time.
      console: for the opening; stdout by default. Progress and notices go to stderr.
      retries: how often a trial that fails is tried again.
      opened: called, with what tells of changes, once the directory is known to be this study's.
      cluster: runs the trials instead of processes here.
      losses: as in `run_study`.

    Raises:
      ValueError: the directory holds another study.
      OSError: a result could not be written.
    """
    errors = Console(stderr=True)

    def notify(text: str) -> None:
        errors.print(f"notice: {text}", soft_wrap=True, highlight=False, markup=False, emoji=False)

    gpus = gpus_of(processes)
    about = environment(_CLUSTER if cluster is not None else _device(gpus))
    if open_manifest(directory, decided, about):
        _notice_changes(directory, about, notify)
    opened(notify)
    (console or Console()).print(opening, soft_wrap=True, highlight=False, markup=False, emoji=False)
    store = Store(directory, notify)
    with Interrupts() as interrupts, SweepProgress(errors, study.expected(), processes) as progress:
        if cluster is not None:
            known = Known(study, store, progress, retries)
            return supervise(known, cluster.workers, cluster.count, notify, interrupts.check)
        with (
            Claims(directory, notify) as claims,
            LocalExecutor(runner, processes, store.folder, gpus) as executor,
        ):
            return run_study(
                study,
                store,
                claims,
                executor,
                progress,
                retries,
                losses=losses,
                calibration=Calibration(directory, about, processes),
                check=interrupts.check,
            )


def processes_at_a_time(given: int | None) -> int:
    """Returns how many processes run trials: as given, else one per GPU, one per core on a CPU (at most 8), or one.

    Where they are several, the GPUs are theirs: this process keeps to the CPU.

    Raises:
      ValueError: fewer than one, or more than any machine has room for.
    """
    if given is not None and not 1 <= given <= _MOST_GIVEN:
        raise ValueError(f"processes must be from 1 to {_MOST_GIVEN:,}, got {given}")
    gpus = visible_gpus()
    if gpus and (given or len(gpus)) > 1:
        # JAX takes most of the memory of every GPU that it sees, as soon as it starts.
        jax.config.update("jax_platforms", "cpu")
        return given or len(gpus)
    if given is not None:
        return given
    if jax.default_backend() != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_PROCESSES)


def _device(gpus: Sequence[Gpu]) -> dict[str, Any] | None:
    """What the trials run on, where it is not what this process runs on."""
    if not gpus:
        return None
    return {"platform": "gpu", "kind": gpus[0].kind, "count": len(gpus), "machine": platform.machine()}


def _notice_changes(directory: Path, now: Mapping[str, Any], notify: Callable[[str], None]) -> None:
    """Says, and keeps, what differs between the machine and code that started the directory and the present ones."""
    then = read_manifest(directory)["environment"]
    names = [key for key in ("python", "versions", "device", "git_revision") if then.get(key) != now[key]]
    for key in names:
        # Whoever starts workers on a cluster doesn't know what they will run on.
        if _CLUSTER not in (then.get(key), now[key]):
            notify(
                f"{directory} was started with another {key.replace('_', ' ')} ({then.get(key)}, now {now[key]}); "
                "finished trials are kept"
            )
    if names:
        text = json.dumps({key: value for key, value in now.items() if key != "created"}, indent=2) + "\n"
        folder = directory / _ENVIRONMENTS
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            name = hashlib.sha256(text.encode()).hexdigest()[:12]
            write_atomic(folder / f"{name}.json", text, new=True)
