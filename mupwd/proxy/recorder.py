"""Reads what finished on the device: logs it, shows it, notices a divergence."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from mupwd.proxy.config import TrainConfig
from mupwd.proxy.metric_sinks import BackgroundSinks
from mupwd.proxy.metrics_log import MetricsLog
from mupwd.proxy.progress import RunProgress
from mupwd.transfer.steady_state import LATE

"""Ends the names of the means over the last quarter of a run's steps."""


class Segment(NamedTuple):
    """Steps `start..stop` that were handed to the device, and what will be known of them."""

    start: int
    stop: int
    metrics: dict[str, jax.Array]
    evaluation: jax.Array | None


class Recorder:
    """Turns segments into records of the log.

    Metrics are whole on every device, so that several processes see a divergence at the same step.

    Args:
      train: of the run.
      highest_loss: a loss above it has diverged.
      log: where to; None: to no file.
      sinks: where else to.
      progress: what to show.
      earlier: the records of the log that a resumed run goes on from.
    """

    def __init__(
        self,
        train: TrainConfig,
        highest_loss: float,
        log: MetricsLog | None,
        sinks: BackgroundSinks,
        progress: RunProgress,
        earlier: Iterable[Mapping[str, Any]],
    ):
        self.diverged_at: int | None = None
        self._late: dict[str, dict[int, float]] = defaultdict(dict)
        self._train, self._highest_loss, self._progress = train, highest_loss, progress
        self._log, self._sinks = log, sinks
        self._last = {"train/loss": math.nan, "eval/loss": math.nan}
        for record in earlier:
            self._keep(record["step"], {name: record[name] for name in record.keys() - {"step", "time"}})
        self._clock: float | None = None
        self._seconds, self._steps = 0.0, 0

    def read(self, segment: Segment) -> None:
        """Waits for a segment and records its last step, or the first one that diverged."""
        # To the host first: indexing on the device would queue behind the segment that runs now.
        metrics = {name: np.asarray(values) for name, values in segment.metrics.items()}
        speed = self._tokens_per_second(segment.stop - segment.start)
        losses = metrics["train/loss"][: segment.stop - segment.start]
        # Not `> highest_loss`: NaN compares false.
        diverged = np.flatnonzero(~(losses <= self._highest_loss))
        step = segment.stop
        if diverged.size:
            step = self.diverged_at = segment.start + int(diverged[0]) + 1
        for seen in self._observed_before(step, segment.start):
            self._write(seen, _row(metrics, seen - segment.start - 1, _is_observed))
        record = _row(metrics, step - segment.start - 1, lambda name: self._is_recorded(name, step))
        if segment.evaluation is not None and self.diverged_at is None:
            record["eval/loss"] = float(segment.evaluation)
        self._write(step, record if math.isnan(speed) else {**record, "train/tokens_per_second": speed})
        self._progress.update(step, record["train/loss"], speed)

    def _write(self, step: int, record: dict[str, float]) -> None:
        self._keep(step, record)
        if self._log is not None:
            self._log.write(step, record)
        self._sinks.write(step, record)

    def _keep(self, step: int, record: Mapping[str, float]) -> None:
        self._last |= record
        for name, value in record.items():
            if 4 * step > 3 * self._train.steps and (name.startswith("gain/") or name.endswith("/sigma_1")):
                self._late[name][step] = value

    def _observed_before(self, step: int, start: int) -> range:
        """The steps after `start` and before `step` at which the device observed."""
        every = self._train.observe_every
        return range(0) if every is None else range(start - start % every + every, step, every)

    def _is_recorded(self, name: str, step: int) -> bool:
        every = self._train.observe_every
        return not _is_observed(name) or (every is not None and step % every == 0)

    def restart_clock(self) -> None:
        """Leaves the time since the last read, in which nothing was trained, out of the tokens per second."""
        self._clock = time.perf_counter()

    def result(self) -> dict[str, Any]:
        """Returns what `Trainer.run` returns."""
        diverged = self.diverged_at is not None
        late = {f"{name}{LATE}": float(np.mean(list(values.values()))) for name, values in self._late.items()}
        return {
            "status": "diverged" if diverged else "finished",
            "step": self.diverged_at if diverged else self._train.last_step,
            "train/loss": self._last["train/loss"],
            "eval/loss": math.nan if diverged else self._last["eval/loss"],
            "train/tokens_per_second": self._speed(self._steps, self._seconds),
            **{name: value for name, value in self._last.items() if _is_observed(name)},
            **({} if diverged else late),
        }

    def _tokens_per_second(self, steps: int) -> float:
        """Of the steps since the last read; NaN at the first read, which is mostly compilation."""
        before, self._clock = self._clock, time.perf_counter()
        if before is None:
            return math.nan
        self._seconds += self._clock - before
        self._steps += steps
        return self._speed(steps, self._clock - before)

    def _speed(self, steps: int, seconds: float) -> float:
        return steps * self._train.batch_size * self._train.sequence_length / seconds if seconds else math.nan


def _is_observed(name: str) -> bool:
    return name.startswith(("spectral/", "update/", "gain/"))


def _row(metrics: Mapping[str, np.ndarray], index: int, wanted: Callable[[str], bool]) -> dict[str, float]:
    return {name: float(values[index]) for name, values in metrics.items() if wanted(name)}
