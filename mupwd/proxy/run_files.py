"""The files of a run: process 0 reads and writes them, and every process knows what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mupwd.plan import Plan
from mupwd.proxy.checkpoint import Checkpoints, check_place
from mupwd.proxy.config import TrainConfig
from mupwd.proxy.disk import explain_full_disk
from mupwd.proxy.hosts import check_same, from_first
from mupwd.proxy.manifest import FILE_NAME as MANIFEST_NAME
from mupwd.proxy.manifest import PLAN_NAME, open_manifest
from mupwd.proxy.metrics_log import FILE_NAME, MetricsLog, read_metrics
from mupwd.proxy.result import read_result, write_result


class RunFiles:
    """Those of one directory, or none.

    Args:
      directory: None: nothing is written, and `log` and `checkpoints` stay None.
      run: returns everything that decides the run's numbers, as JSON types.
      plan: of the run.
      train: of the run.

    Raises:
      ValueError: the directory holds another run, or there are checkpoints to write and a process does not see it or
        its path is none for them.
      OSError: the disk is full.
    """

    def __init__(
        self,
        directory: str | Path | None,
        run: Callable[[], Mapping[str, Any]],
        plan: Plan,
        train: TrainConfig,
    ):
        self._directory = None if directory is None else Path(directory)
        self._stack = ExitStack()
        self.log: MetricsLog | None = None
        self.checkpoints: Checkpoints | None = None
        self.result: dict[str, Any] | None = None
        """What an earlier run that is over returned."""
        if self._directory is None:
            return
        place = self._directory
        if train.checkpoint_every is not None:
            check_place(place)
        self.result = from_first(lambda: self._open(run(), plan))
        if self.result is None and train.checkpoint_every is not None:
            check_same(
                f"directory={str(place)!r}, which all processes must share for the sake of checkpoints,",
                lambda: {MANIFEST_NAME: (place / MANIFEST_NAME).exists()},
            )
            self.checkpoints = self._stack.enter_context(Checkpoints(place, train.keep_checkpoints))

    def _open(self, run: Mapping[str, Any], plan: Plan) -> dict[str, Any] | None:
        assert self._directory is not None
        known = open_manifest(self._directory, run)
        if known and (result := read_result(self._directory)) is not None:
            return result
        with explain_full_disk(self._directory, PLAN_NAME):
            plan.save(self._directory / PLAN_NAME)
        return None

    def open_log(self, done: int) -> list[dict[str, Any]]:
        """Returns the records up to step `done`; later ones are dropped, and new ones go behind."""
        return [] if self._directory is None else from_first(lambda: self._open_log(done))

    def _open_log(self, done: int) -> list[dict[str, Any]]:
        assert self._directory is not None
        self.log = self._stack.enter_context(MetricsLog(self._directory / FILE_NAME, keep_until=done))
        return read_metrics(self._directory)

    def end(self, result: dict[str, Any]) -> dict[str, Any]:
        """Writes what `Trainer.run` returns and returns it: that of process 0, whose speed it tells."""
        return from_first(lambda: self._end(result))

    def _end(self, result: dict[str, Any]) -> dict[str, Any]:
        if self._directory is not None:
            assert self.log is not None
            self.log.flush()
            write_result(self._directory, result)
        return result

    def __enter__(self) -> RunFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
