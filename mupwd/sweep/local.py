"""Trials on this machine: in this process, or in several processes with one core each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from mupwd.sweep.gpus import Gpu, environment_of
from mupwd.sweep.interrupts import FRIENDLY
from mupwd.sweep.runner import Measurement, Runner
from mupwd.sweep.trial import Result, Trial


class Failed(NamedTuple):
    """A group of trials that raised, or whose process ended; and the traceback, or what became of the process."""

    trials: Sequence[Trial]
    error: str


class _Task(NamedTuple):
    """Trials to run, or, where `most` is given, one to measure with up to so many in one program."""

    trials: Sequence[Trial]
    most: int | None
    folders: Sequence[Path | None]


class _Worker(NamedTuple):
    process: Any
    connection: Connection
    kinds: set[tuple[Any, ...]]


class LocalExecutor:
    """Runs groups of trials here; a context manager that ends its processes on the way out.

    A single trial of a small model does not keep two cores busy, so with several cores one process on each,
    pinned to it, finishes more trials in the same time. With several GPUs each process has one.

    Args:
      runner: runs a group.
      processes: 1 runs in this process; more start as many others.
      folder: the folder for what a trial writes; None: nothing is written.
      gpus: that several processes divide among them, where there are any.

    Raises:
      ValueError: fewer than one process.
    """

    def __init__(
        self,
        runner: Runner,
        processes: int = 1,
        folder: Callable[[Trial], Path] | None = None,
        gpus: Sequence[Gpu] = (),
    ):
        if processes < 1:
            raise ValueError(f"processes must be at least 1, got {processes}")
        self._runner, self.processes, self._folder, self._gpus = runner, processes, folder, gpus
        self._workers: list[_Worker] = []

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            _kill(worker.process)
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers.clear()

    def run(
        self, groups: Sequence[Sequence[Trial]], claim: Callable[[Trial], bool] = lambda _: True
    ) -> Iterator[list[Result] | Failed]:
        """Yields the results of each group as it finishes, in any order, or how it failed.

        Args:
          groups: trials that run together; the first ones are started first.
          claim: asked just before a trial starts; one that it refuses is left out.
        """
        tasks = [
            _Task(group, None, [self._folder and self._folder(one) for one in group]) for group in groups
        ]
        for _, outcome in self._do(tasks, claim):
            yield outcome

    def measure(self, trials: Sequence[Trial], most: int) -> dict[str, Measurement]:
        """Returns `{trial id: how trials like it are best run}`; without those that failed.

        Args:
          trials: one of each kind.
          most: trials in one program.
        """
        tasks = [_Task([trial], most, [None]) for trial in trials]
        return {
            task.trials[0].id: one
            for task, one in self._do(tasks, lambda _: True)
            if not isinstance(one, Failed)
        }

    def _do(self, tasks: Sequence[_Task], claim: Callable[[Trial], bool]) -> Iterator[tuple[_Task, Any]]:
        waiting = list(tasks)
        if self.processes == 1:
            while waiting:
                task = _claimed(waiting.pop(0), claim)
                if task is not None:
                    yield task, _outcome(self._runner, task)
            return
        self._start()
        running: dict[Connection, _Task] = {}
        for worker in self._workers:
            self._give(worker, waiting, running, claim)
        while running:
            for connection in wait(list(running)):
                index = next(i for i, one in enumerate(self._workers) if one.connection is connection)
                task = running.pop(self._workers[index].connection)
                answer = _received(self._workers[index])
                if answer is None:
                    answer = Failed(task.trials, self._ended(index))
                self._give(self._workers[index], waiting, running, claim)
                yield task, answer

    def _give(
        self,
        worker: _Worker,
        waiting: list[_Task],
        running: dict[Connection, _Task],
        claim: Callable[[Trial], bool],
    ) -> None:
        """Sends a worker the first task of a kind that it has compiled, else of one that no worker has."""
        known = {kind for one in self._workers for kind in one.kinds}

        def rank(task: _Task) -> int:
            kind = task.trials[0].kind
            return 0 if kind in worker.kinds else 1 if kind not in known else 2

        while waiting:
            first = min(waiting, key=rank)
            waiting.remove(first)
            task = _claimed(first, claim)
            if task is not None:
                worker.kinds.add(task.trials[0].kind)
                running[worker.connection] = task
                # A worker that ended while it was idle is noticed when its answer is waited for.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    worker.connection.send(task)
                return

    def _ended(self, index: int) -> str:
        """Starts another worker in the place of one that ended; returns what became of it."""
        worker = self._workers[index]
        worker.process.join()
        _kill(worker.process)  # what it leaves behind
        worker.connection.close()
        code = worker.process.exitcode
        self._workers[index] = self._worker(index)
        how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
        memory = "; killed perhaps for want of memory: try fewer processes" if code == -signal.SIGKILL else ""
        return f"the process that ran it ended {how}{memory}"

    def _start(self) -> None:
        if not self._workers:
            self._workers = [self._worker(index) for index in range(self.processes)]

    def _worker(self, index: int) -> _Worker:
        # Not fork: JAX runs threads in this process.
        context = multiprocessing.get_context("spawn")
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        ours, theirs = context.Pipe()
        # Not where cores are left over: other sweeps may run on this machine.
        core = cores[index] if self.processes == len(cores) and not self._gpus else None
        variables = environment_of(index, self.processes, self._gpus)
        # No daemon, which may have no processes of its own, such as those that load data.
        process = context.Process(target=_work, args=(theirs, self._runner, core, variables))
        process.start()
        theirs.close()
        return _Worker(process, ours, set())


def _claimed(task: _Task, claim: Callable[[Trial], bool]) -> _Task | None:
    """The part of a task that is ours to run."""
    kept = [pair for pair in zip(task.trials, task.folders, strict=True) if claim(pair[0])]
    return _Task([one for one, _ in kept], task.most, [folder for _, folder in kept]) if kept else None


def _received(worker: _Worker) -> Any:
    """What a worker answers; None where it ended instead."""
    try:
        return worker.connection.recv()
    except (EOFError, ConnectionResetError):
        return None


def _outcome(runner: Runner, task: _Task) -> Measurement | list[Result] | Failed:
    try:
        if task.most is not None:
            return runner.measure(task.trials[0], task.most)
        start = time.monotonic()
        metrics = runner.run(task.trials, task.folders)
        seconds = round((time.monotonic() - start) / len(task.trials), 3)
        return [Result(trial, one, seconds) for trial, one in zip(task.trials, metrics, strict=True)]
    except (Exception, SystemExit):
        return Failed(task.trials, traceback.format_exc())


def _work(connection: Connection, runner: Runner, core: int | None, variables: Mapping[str, str]) -> None:
    """A worker: receives groups and sends results, or the text of an error, until the other end is gone."""
    # Ctrl-C reaches every process of the terminal, and a scheduler's signals every one of the job; the parent decides.
    # By a handler: processes that a trial starts would inherit that signals are ignored, and could not be ended.
    for number in FRIENDLY:
        signal.signal(number, _left_to_the_parent)
    # Held back while one is being forked: it is to end by a signal that comes before it has handlers of its own.
    os.register_at_fork(before=_hold_back, after_in_parent=_let_go, after_in_child=_decide_alone)
    # A group of its own, which ends with it: a trial may have processes that load data.
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Before the backend starts, which takes the GPUs that it sees, and sizes its thread pool by the cores it may use.
    os.environ.update(variables)
    if core is not None:
        os.sched_setaffinity(0, {core})
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            connection.send(_outcome(runner, connection.recv()))


def _left_to_the_parent(number: int, frame: FrameType | None) -> None:
    """Does nothing."""


def _hold_back() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, FRIENDLY)


def _let_go() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FRIENDLY)


def _decide_alone() -> None:
    for number in FRIENDLY:
        signal.signal(number, signal.SIG_DFL)
    _let_go()


def _kill(process: Any) -> None:
    """Ends a worker and what its trial has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()  # it has no group yet, or has ended


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.killpg(0, signal.SIGKILL)
