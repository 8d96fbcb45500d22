"""Runs a study in a directory of its own: what it is, its trials, and the processes that work on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from mupwd.proxy.manifest import environment, open_manifest, read_manifest
from mupwd.sweep.claims import Claims
from mupwd.sweep.drive import run_study
from mupwd.sweep.fixed import Wanted
from mupwd.sweep.interrupts import Interrupts
from mupwd.sweep.known import Known, Ran
from mupwd.sweep.local import LocalExecutor, Runner
from mupwd.sweep.progress import SweepProgress
from mupwd.sweep.store import Store
from mupwd.sweep.workers import Workers, supervise

_MOST_PROCESSES = 8


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
      directory: for manifest.json and trials/.
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

    if open_manifest(directory, decided):
        _notice_changes(directory, notify)
    opened(notify)
    (console or Console()).print(opening, soft_wrap=True, highlight=False, markup=False, emoji=False)
    store = Store(directory, notify)
    with Interrupts() as interrupts, SweepProgress(errors, study.expected(), processes) as progress:
        if cluster is not None:
            known = Known(study, store, progress, retries)
            return supervise(known, cluster.workers, cluster.count, notify, interrupts.check)
        with Claims(directory, notify) as claims, LocalExecutor(runner, processes, store.folder) as executor:
            check = interrupts.check
            return run_study(study, store, claims, executor, progress, retries, losses=losses, check=check)


def processes_at_a_time(given: int | None) -> int:
    """Returns how many processes run trials: as given, else one per core on a CPU (at most 8), and one elsewhere.

    Raises:
      ValueError: fewer than one.
    """
    if given is not None:
        if given < 1:
            raise ValueError(f"processes must be at least 1, got {given}")
        return given
    if jax.default_backend() != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_PROCESSES)


def _notice_changes(directory: Path, notify: Callable[[str], None]) -> None:
    """Says what differs between the machine and code that started the directory and the present ones."""
    then, now = read_manifest(directory)["environment"], environment()
    for key in ("python", "versions", "device", "git_revision"):
        if then.get(key) != now[key]:
            notify(
                f"{directory} was started with another {key.replace('_', ' ')} ({then.get(key)}, now {now[key]}); "
                "finished trials are kept"
            )
