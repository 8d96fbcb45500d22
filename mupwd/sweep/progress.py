"""How far a sweep is, and how long it will take."""

from __future__ import annotations

import math
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mupwd.sweep.trial import Result, Trial

_SECONDS_BETWEEN_LINES = 20.0
_ENOUGH = 5


class SweepProgress:
    """One bar over all trials with the time left; lines of text now and then where there is no terminal.

    Args:
      console: where to.
      expected: `{width: trials}` of the whole sweep; corrected as the sweep goes on.
      processes: that run trials at the same time.
    """

    def __init__(self, console: Console, expected: Mapping[int, int], processes: int):
        self._console, self._processes = console, processes
        self._expected = dict(expected)
        self._done: dict[int, int] = defaultdict(int)
        self._seconds: dict[int, list[float]] = defaultdict(list)
        self._measured: dict[int, float] = {}
        self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
            expand=True,
        )
        self._task = self._bar.add_task("starting", total=None, count="", left="")

    def __enter__(self) -> SweepProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def measured(self, width: int, seconds: float) -> None:
        """Takes in how long a trial of a width takes."""
        if math.isfinite(seconds):
            self._measured[width] = seconds

    def known(self, wanted: Mapping[int, int]) -> None:
        """Takes in how many trials of each width are known to be needed."""
        for width, count in wanted.items():
            self._expected[width] = max(self._expected.get(width, 0), count)
        self._show("")

    def found(self, width: int) -> None:
        """Counts a trial that an earlier run finished."""
        self._done[width] += 1

    def ran(self, result: Result) -> None:
        """Counts a trial that ran now."""
        trial = result.trial
        self._done[trial.width] += 1
        self._seconds[trial.width].append(result.seconds)
        self._show(f"{trial.hyperparameters['recipe']}, width {trial.width}")

    def failed(self, trial: Trial) -> None:
        """Counts a trial that has failed for good."""
        self._done[trial.width] += 1
        self._show(f"failed: {trial}")

    def working(self, running: int, waiting: int, at_a_time: int) -> None:
        """Takes in what the workers of a cluster do.

        Args:
          running: workers.
          waiting: for a place.
          at_a_time: trials that each runs.
        """
        self._processes = max(running, 1) * at_a_time
        self._show(f"{running} workers" + (f", {waiting} wait for a place" if waiting else ""))

    def waiting(self, trials: int) -> None:
        """Says that other processes run what is left."""
        self._show(f"other processes run the last {trials}")

    def complete(self) -> None:
        """Says that no trial is left."""
        self._expected = dict(self._done)
        self._show("done")

    def time_left(self) -> str:
        """Returns an estimate in words, and none while no trial has been timed."""
        # The first trial of a width that a process runs compiles, and of a process the very first imports as well.
        ran = {width: statistics.median(ran) for width, ran in self._seconds.items() if len(ran) >= _ENOUGH}
        later = {width: min(ran) for width, ran in self._seconds.items() if len(ran) > self._processes}
        known = {**later, **self._measured, **ran}
        if known:
            return f"about {duration(self._seconds_left(known))} left"
        first = {width: min(ran) for width, ran in self._seconds.items()}
        return (
            f"at most {duration(self._seconds_left(first))} left: the first trials compile" if first else ""
        )

    def _seconds_left(self, known: Mapping[int, float]) -> float:
        left = {width: max(count - self._done[width], 0) for width, count in self._expected.items()}
        return sum(count * seconds_of(width, known) for width, count in left.items()) / self._processes

    def _show(self, what: str) -> None:
        done, expected = sum(self._done.values()), sum(self._expected.values())
        words = self.time_left()
        count = f"{done}/{expected} trials"
        self._bar.update(
            self._task, description=what, completed=done, total=expected, count=count, left=words
        )
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._console.print(", ".join(filter(None, [count, words])))


def median_seconds(results: Iterable[Result]) -> dict[int, float]:
    """Returns `{width: seconds of a whole trial}`; the median, as the first trials of a width compile."""
    times: dict[int, list[float]] = defaultdict(list)
    for result in results:
        times[result.trial.width].append(result.seconds / result.trial.share)
    return {width: statistics.median(seconds) for width, seconds in times.items()}


def seconds_of(width: int, known: Mapping[int, float]) -> float:
    """Returns what a trial takes, by the nearest width that was timed.

    Args:
      width: of the trial.
      known: `{width: seconds}`, one at least.
    """
    near = min(known, key=lambda other: abs(math.log(other / width)))
    # Between one product of matrices (width^2) and a step too small to fill the machine (width^1).
    return known[near] * (width / near) ** 1.5


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    Example:
      >>> duration(75), duration(3700)
      ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
