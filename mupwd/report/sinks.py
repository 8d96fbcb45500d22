"""Metrics for TensorBoard, as a sink of a train loop.

Other sinks need nothing from here: `wandb.log`, `trackio.log`, the `track` of aim's `Run` and CLU's metric writers are
sinks as they are (see `mupwd.proxy.metric_sinks`).
"""

from __future__ import annotations

import importlib
import itertools
import os
import time
from collections.abc import Mapping
from typing import Any

_FLUSH_SECONDS = 1.0
# Event files are named after the second that they were begun in.
_numbers = itertools.count()


class TensorBoard:
    """Writes event files that TensorBoard reads, by tensorboardX.

    Nothing is written before the first record. `flush` ends an event file, and what is written after it goes to another
    one of the same folder, which TensorBoard shows as one run.

    Args:
      directory: for the event files, created where it does not exist; may be that of the run.

    Raises:
      ModuleNotFoundError: tensorboardX is missing.

    Example:
      >>> import tempfile
      >>> tensorboard = TensorBoard(tempfile.mkdtemp())
      >>> tensorboard.write_scalars(20, {"train/loss": 2.5})
      >>> tensorboard.flush()
    """

    def __init__(self, directory: str | os.PathLike[str]):
        try:
            importlib.import_module("tensorboardX.event_file_writer")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"TensorBoard files need tensorboardX ({error}): pip install 'mupwd[tensorboard]'",
                name=error.name,
            ) from error
        self._directory = os.fspath(directory)
        self._file: Any = None
        self._flushed = 0.0

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes one record, with the time of now.

        Args:
          step: finished optimizer steps.
          scalars: name to number; values that are not finite are allowed.

        Raises:
          OSError: it could not be written.
        """
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] - made at run time
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        # Not `SummaryWriter.add_scalar`: that writes an event per metric, through a queue between processes that its
        # flush does not wait for, and changes names such as `layers[0]`.
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        if self._file is None:
            self._file = self._open()
        self._file.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()

    def flush(self) -> None:
        """Returns once all records are on the disk."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> Any:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.record_writer import directory_check

        directory_check(self._directory)
        return EventsWriter(os.path.join(self._directory, "events"), f".{os.getpid()}.{next(_numbers)}")

    def __repr__(self) -> str:
        return f"TensorBoard({self._directory!r})"
