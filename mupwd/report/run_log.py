"""The log of a train loop of your own, as `mupwd report` reads it."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mupwd.plan import Plan
from mupwd.proxy.manifest import PLAN_NAME, open_manifest
from mupwd.proxy.metric_sinks import BackgroundSinks, Sink
from mupwd.proxy.metrics_log import FILE_NAME, MetricsLog, read_metrics
from mupwd.proxy.result import RESULT_NAME, write_result


class RunLog:
    """Writes manifest.json, plan.json and metrics.jsonl of a run, result.json at its end, and hands records to sinks.

    A run is over when the log is closed, as `with` does unless something is raised; it has diverged where the last
    "train/loss" or "eval/loss" was not finite.

    Args:
      directory: of the run; created where it does not exist.
      run: what the run is, as JSON types. The report tells runs apart by "width", "recipe", "learning_rate",
        "weight_decay" and "seed"; other fields are shown.
      plan: of the model, which knows its width and recipe; with it the report judges slopes, and draws edges and decay
        timescales. None: there is none.
      sinks: what else is given the records, in the background: objects with `write_scalars(step, metrics)`, such as
        `mupwd.report.TensorBoard` or CLU's writers, or functions that are called as `log(metrics, step=step)`,
        such as `wandb.log`.
      resume_from: for a directory that has records: the step that the loop goes on from. Records of later steps are
        dropped.

    Raises:
      ValueError: the directory holds another run or other files, or records while `resume_from` is None; or a sink is
        not one; or `run` and `plan` contradict each other.
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
        plan: Plan | None = None,
        sinks: Iterable[Sink] = (),
        resume_from: int | None = None,
    ):
        directory = Path(directory)
        file = directory / FILE_NAME
        try:
            known = open_manifest(directory, run if plan is None else _with_plan(run, plan))
        except TypeError as error:
            raise ValueError(f"run must hold JSON types only: {error}") from error
        if known and resume_from is None and file.exists() and (earlier := read_metrics(file)):
            raise ValueError(
                f"{file} has records up to step {earlier[-1]['step']}: give the step that the loop goes on from as "
                "resume_from, resume_from=0 to start anew, or another directory"
            )
        if plan is not None:
            plan.save(directory / PLAN_NAME)
        # It goes on.
        (directory / RESULT_NAME).unlink(missing_ok=True)
        self._directory, self._last = directory, dict[str, Any]()
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
        self._last |= {**record, "step": step}

    def close(self) -> None:
        """Ends the run: writes the last value of every metric, waits for sinks while they take records, and tells what
        was lost to them.

        Raises:
          OSError: the disk is full.
        """
        with self._stack:
            losses = [self._last[name] for name in ("train/loss", "eval/loss") if name in self._last]
            status = "finished" if all(map(math.isfinite, losses)) else "diverged"
            if self._last:
                write_result(self._directory, {**self._last, "status": status})

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._stack.close()


def _with_plan(run: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """What the plan knows of the run, and what the run says of itself."""
    known = {"width": plan.width, "base": plan.base, "recipe": plan.recipe}
    known = {name: value for name, value in known.items() if value is not None}
    if wrong := [name for name in known.keys() & run.keys() if run[name] != known[name]]:
        pairs = "; ".join(
            f"{name} is {run[name]!r} in run and {known[name]!r} in plan" for name in sorted(wrong)
        )
        raise ValueError(f"{pairs}: leave these out of run, or give the plan of this model")
    return {**run, **known}


def _number(value: Any) -> Any:
    """A Python number of an array; of a truth, such as "converged", 1 or 0."""
    if getattr(value, "shape", None) != ():
        return value
    return float(value) if value.dtype == bool else value.item()
