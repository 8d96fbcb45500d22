"""The log of a train loop of your own, as `mupwd report` reads it."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mupwd.proxy.manifest import open_manifest
from mupwd.proxy.metric_sinks import BackgroundSinks, Sink
from mupwd.proxy.metrics_log import FILE_NAME, MetricsLog, read_metrics


class RunLog:
    """Writes manifest.json and metrics.jsonl of a run, and hands its records to sinks.

    Args:
      directory: of the run; created where it does not exist.
      run: what the run is, as JSON types. The report tells runs apart by "width", "recipe", "learning_rate",
        "weight_decay" and "seed"; other fields are shown.
      sinks: what else is given the records, in the background: objects with `write_scalars(step, metrics)`, such as
        `mupwd.report.sinks.TensorBoard` or CLU's writers, or functions that are called as `log(metrics, step=step)`,
        such as `wandb.log`.
      resume_from: for a directory that has records: the step that the loop goes on from. Records of later steps are
        dropped.

    Raises:
      ValueError: the directory holds another run or other files, or records while `resume_from` is None; or a sink is
        not one.
      OSError: the files cannot be written.

    Example:
      >>> import tempfile
      >>> directory = tempfile.mkdtemp()
      >>> with RunLog(directory, {"width": 128, "learning_rate": 2**-6}) as log:
      ...     log(1, {"train/loss": 5.5})
      ...     log(2, {"train/loss": 5.4, "eval/loss": 5.3})
      >>> [record["train/loss"] for record in read_metrics(directory)]
      [5.5, 5.4]
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        run: Mapping[str, Any],
        sinks: Iterable[Sink] = (),
        resume_from: int | None = None,
    ):
        directory = Path(directory)
        file = directory / FILE_NAME
        try:
            known = open_manifest(directory, run)
        except TypeError as error:
            raise ValueError(f"run must hold JSON types only: {error}") from error
        if known and resume_from is None and file.exists() and (earlier := read_metrics(file)):
            raise ValueError(
                f"{file} has records up to step {earlier[-1]['step']}: give the step that the loop goes on from as "
                "resume_from, resume_from=0 to start anew, or another directory"
            )
        with ExitStack() as stack:
            self._log = stack.enter_context(MetricsLog(file, keep_until=resume_from))
            self._sinks = stack.enter_context(BackgroundSinks(sinks))
            self._stack = stack.pop_all()

    def __call__(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes one record.

        Args:
          step: finished optimizer steps.
          metrics: name to number, or to an array without axes. One that is still being computed is waited for: log the
            metrics of step n while step n + 1 runs.

        Raises:
          ValueError: a name or a value is not one of a metric.
          OSError: it could not be written to metrics.jsonl.
        """
        step, record = operator.index(step), {name: _number(value) for name, value in metrics.items()}
        self._log.write(step, record)
        self._sinks.write(step, record)

    def close(self) -> None:
        """Waits for sinks while they take records, and tells what was lost to them."""
        self._stack.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _number(value: Any) -> Any:
    return value.item() if getattr(value, "shape", None) == () else value
