"""Trials on this machine: in this process, or in several processes with one core each."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from mupwd.sweep.errors import TrialError
from mupwd.sweep.trial import LOSS, Metrics, Result, Train, Trial


class Measurement(NamedTuple):
    """How many trials to run in one program, and the seconds that each then takes, without compilation."""

    size: int
    seconds: float


class Runner(Protocol):
    """What runs trials; picklable, for other processes."""

    def run(self, trials: Sequence[Trial]) -> list[Metrics]:
        """Runs a group of trials and returns their metrics in the same order."""
        ...

    def measure(self, trial: Trial, most: int) -> Measurement:
        """Times trials like this one, alone and up to `most` in one program."""
        ...


class OneByOne:
    """Runs any model's trials one after the other.

    Args:
      train: `train(width, hyperparameters, seed, directory) -> metrics`; importable, for other processes.
    """

    def __init__(self, train: Train):
        self._train = train

    def run(self, trials: Sequence[Trial]) -> list[Metrics]:
        """Runs each trial and returns their metrics.

        Raises:
          ValueError: the held-out loss is not among them.
        """
        return [_plain(self._train(one.width, one.hyperparameters, one.seed, None)) for one in trials]

    def measure(self, trial: Trial, most: int) -> Measurement:
        """Takes trials as long as they come: nothing is known of the model."""
        return Measurement(1, math.nan)


def _plain(metrics: Mapping[str, Any]) -> Metrics:
    """Metrics as JSON types, whatever arrays a model's own function returned."""
    if LOSS not in metrics:
        raise ValueError(
            f"the train function returned no {LOSS!r}; it returned {', '.join(metrics) or 'nothing'}"
        )
    return {name: one if isinstance(one, str | int) else float(one) for name, one in metrics.items()}


class _Task(NamedTuple):
    """Trials to run, or, where `most` is given, one to measure with up to so many in one program."""

    trials: Sequence[Trial]
    most: int | None


class _Worker(NamedTuple):
    process: Any
    connection: Connection
    kinds: set[tuple[Any, ...]]


class LocalExecutor:
    """Runs groups of trials here; a context manager that ends its processes on the way out.

    A single trial of a small model does not keep two cores busy, so with several cores one process on each,
    pinned to it, finishes more trials in the same time.

    Args:
      runner: runs a group.
      processes: 1 runs in this process; more start as many others.

    Raises:
      ValueError: fewer than one process.
    """

    def __init__(self, runner: Runner, processes: int = 1):
        if processes < 1:
            raise ValueError(f"processes must be at least 1, got {processes}")
        self._runner, self.processes = runner, processes
        self._workers: list[_Worker] = []

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers.clear()

    def run(self, groups: Sequence[Sequence[Trial]]) -> Iterator[list[Result]]:
        """Yields the results of each group as it finishes, in any order.

        Args:
          groups: trials that run together; the first ones are started first.

        Raises:
          TrialError: a group raised, or its process ended; results of finished groups have been yielded.
        """
        for _, results in self._do([_Task(group, None) for group in groups]):
            yield results

    def measure(self, trials: Sequence[Trial], most: int) -> dict[str, Measurement]:
        """Returns `{trial id: how trials like it are best run}`.

        Args:
          trials: one of each kind.
          most: trials in one program.

        Raises:
          TrialError: as in `run`.
        """
        return {task.trials[0].id: one for task, one in self._do([_Task([trial], most) for trial in trials])}

    def _do(self, tasks: Sequence[_Task]) -> Iterator[tuple[_Task, Any]]:
        if self.processes == 1:
            for task in tasks:
                try:
                    yield task, _done(self._runner, task)
                except Exception as error:
                    raise TrialError(f"a trial failed ({task.trials[0]}): {error}") from error
            return
        self._start()
        waiting = list(tasks)
        running: dict[Connection, _Task] = {}
        for worker in self._workers:
            self._give(worker, waiting, running)
        while running:
            for connection in wait(list(running)):
                worker = next(one for one in self._workers if one.connection is connection)
                task = running.pop(worker.connection)
                answer = _received(worker.connection, task)
                self._give(worker, waiting, running)
                yield task, answer

    def _give(self, worker: _Worker, waiting: list[_Task], running: dict[Connection, _Task]) -> None:
        """Sends a worker the first task of a kind that it has compiled, else of one that no worker has."""
        if not waiting:
            return
        known = {kind for one in self._workers for kind in one.kinds}

        def rank(task: _Task) -> int:
            kind = task.trials[0].kind
            return 0 if kind in worker.kinds else 1 if kind not in known else 2

        task = min(waiting, key=rank)
        waiting.remove(task)
        worker.kinds.add(task.trials[0].kind)
        running[worker.connection] = task
        worker.connection.send(task)

    def _start(self) -> None:
        if self._workers:
            return
        # Not fork: JAX runs threads in this process.
        context = multiprocessing.get_context("spawn")
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        for index in range(self.processes):
            ours, theirs = context.Pipe()
            core = cores[index % len(cores)] if cores else None
            process = context.Process(target=_work, args=(theirs, self._runner, core), daemon=True)
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, ours, set()))


def _received(connection: Connection, task: _Task) -> Any:
    try:
        answer = connection.recv()
    except (EOFError, ConnectionResetError):
        raise TrialError(
            f"the process that ran a trial ended ({task.trials[0]}): it was killed, perhaps for want of memory; "
            "finished trials are kept, run the same command to go on, with fewer processes if memory is short"
        ) from None
    if isinstance(answer, str):
        raise TrialError(f"a trial failed ({task.trials[0]}):\n{answer}")
    return answer


def _done(runner: Runner, task: _Task) -> Measurement | list[Result]:
    if task.most is not None:
        return runner.measure(task.trials[0], task.most)
    start = time.monotonic()
    metrics = runner.run(task.trials)
    seconds = round((time.monotonic() - start) / len(task.trials), 3)
    return [Result(trial, one, seconds) for trial, one in zip(task.trials, metrics, strict=True)]


def _work(connection: Connection, runner: Runner, core: int | None) -> None:
    """A worker: receives groups and sends results, or the text of an error, until the other end is gone."""
    # Ctrl-C reaches every process of the terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if core is not None:
        # Before the backend starts, which sizes its thread pool by the cores it may use.
        os.sched_setaffinity(0, {core})
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = connection.recv()
            try:
                connection.send(_done(runner, task))
            except Exception:
                connection.send(traceback.format_exc())


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
