"""Reads what finished on the device: logs it, shows it, notices a divergence."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from mupwd.proxy.config import TrainConfig
from mupwd.proxy.metrics_log import MetricsLog
from mupwd.proxy.progress import RunProgress


class Segment(NamedTuple):
    """Steps `start..stop` that were handed to the device, and what will be known of them."""

    start: int
    stop: int
    metrics: dict[str, jax.Array]
    evaluation: jax.Array | None


class Recorder:
    """Turns segments into records of the log.

    Args:
      train: of the run.
      highest_loss: a loss above it has diverged.
      log: where to; None: nowhere.
      progress: what to show.
      last: the metrics of the record that a resumed run goes on from.
    """

    def __init__(
        self,
        train: TrainConfig,
        highest_loss: float,
        log: MetricsLog | None,
        progress: RunProgress,
        last: dict[str, float],
    ):
        self.diverged_at: int | None = None
        self._train, self._highest_loss, self._log, self._progress = train, highest_loss, log, progress
        self._last = {"train/loss": math.nan, "eval/loss": math.nan, **last}
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
        index = step - segment.start - 1
        record = {name: float(values[index]) for name, values in metrics.items()}
        if segment.evaluation is not None and self.diverged_at is None:
            record["eval/loss"] = float(segment.evaluation)
        self._last |= record
        if self._log is not None:
            self._log.write(
                step, record if math.isnan(speed) else {**record, "train/tokens_per_second": speed}
            )
        self._progress.update(step, record["train/loss"], speed)

    def restart_clock(self) -> None:
        """Leaves the time since the last read, in which nothing was trained, out of the tokens per second."""
        self._clock = time.perf_counter()

    def result(self) -> dict[str, Any]:
        """Returns what `Trainer.run` returns."""
        diverged = self.diverged_at is not None
        return {
            "status": "diverged" if diverged else "finished",
            "step": self.diverged_at if diverged else self._train.steps,
            "train/loss": self._last["train/loss"],
            "eval/loss": math.nan if diverged else self._last["eval/loss"],
            "train/tokens_per_second": self._speed(self._steps, self._seconds),
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
