"""The metrics log of a run: append-only JSON lines. docs/metrics.md is its schema.

One object per line: `{"step": 20, "time": 1764000000.5, "train/loss": 2.31}`. `step` counts finished
optimizer steps, `time` is in unix seconds, every other key is a slash-separated name with a number. JSON has
no NaN: values that are not finite are the strings "nan", "inf" and "-inf".
"""

from __future__ import annotations

import json
import math
import os
import reprlib
import time as clock
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mupwd.files import read_file
from mupwd.proxy.disk import explain_full_disk, write_atomic

FILE_NAME = "metrics.jsonl"
_RESERVED = ("step", "time")
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class MetricsLog:
    """Appends records to a metrics log; one write per line, so that a kill tears at most the last one.

    Args:
      path: the file, created where it does not exist.
      keep_until: a resumed run passes the step it goes on from: records of later steps, and a torn last line,
        are dropped.

    Raises:
      ValueError: the file that exists is not a metrics log.
      OSError: it cannot be written.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / FILE_NAME
      >>> with MetricsLog(path) as log:
      ...     log.write(10, {"train/loss": 2.5}, time=0.0)
      >>> read_metrics(path)
      [{'step': 10, 'time': 0.0, 'train/loss': 2.5}]
    """

    def __init__(self, path: Path, keep_until: int | None = None):
        self.path = Path(path)
        if keep_until is not None and self.path.exists():
            kept = [record for record in read_metrics(self.path) if record["step"] <= keep_until]
            write_atomic(self.path, "".join(_line(record) for record in kept))
        with explain_full_disk(self.path, "the metrics log"):
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - closed by close()

    def write(self, step: int, metrics: Mapping[str, float], time: float | None = None) -> None:
        """Appends one record.

        Args:
          step: finished optimizer steps.
          metrics: name to number; values that are not finite are allowed.
          time: unix seconds; now, if None.

        Raises:
          ValueError: a name is empty or reserved, or a value is not a number.
          OSError: it could not be written; a full disk is said so.
        """
        for name, value in metrics.items():
            if not name or name in _RESERVED or name != name.strip("/"):
                raise ValueError(
                    f"a metric cannot be named {name!r}; use a slash-separated name such as 'train/loss'"
                )
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(
                    f"metric {name!r} must be a Python number, got {reprlib.repr(value)}; convert it, as by float(...)"
                )
        record = {"step": int(step), "time": clock.time() if time is None else float(time), **metrics}
        with explain_full_disk(self.path, "the metrics log"):
            self._file.write(_line(record).encode())

    def flush(self) -> None:
        """Returns once all records are on the disk."""
        with explain_full_disk(self.path, "the metrics log"):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns the records of a metrics log, in the order of the file.

    A last line without its newline is a write in progress, or one that a kill tore, and is left out. An empty file has
    no records.

    Args:
      path: the file, or the directory of a run.

    Returns:
      One dict per line: "step" an int, everything else a float.

    Raises:
      FileNotFoundError: there is no log.
      ValueError: a line is not a record; the message names the line.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"no metrics log at {path}: give the directory of a run, or its {FILE_NAME}")
    *lines, _torn = read_file(path).split(b"\n")
    return [_record(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def series(records: Iterable[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Returns the steps and values of one metric, in order of step; a step that was written twice counts
    last.

    Args:
      records: as `read_metrics` returns them.
      name: such as "train/loss".

    Example:
      >>> series([{"step": 1, "a": 3.0}, {"step": 2, "b": 0.0}, {"step": 1, "a": 2.0}], "a")
      ([1], [2.0])
    """
    values = {record["step"]: record[name] for record in records if name in record}
    steps = sorted(values)
    return steps, [values[step] for step in steps]


def latest(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the last value of every metric.

    Example:
      >>> latest([{"step": 1, "time": 0.0, "a": 3.0, "b": 1.0}, {"step": 2, "time": 0.0, "a": 2.0}])
      {'a': 2.0, 'b': 1.0}
    """
    values = {name: value for record in records for name, value in record.items()}
    return {name: value for name, value in values.items() if name not in _RESERVED}


def encode(value: float) -> float | str:
    """Returns a number as the log writes it: one that is not finite becomes "nan", "inf" or "-inf"."""
    return value if math.isfinite(value) else str(float(value))


def decode(value: float | str) -> float:
    """Returns the number that `encode` was given.

    Raises:
      ValueError: it is neither a number nor one of the three strings.
    """
    if isinstance(value, str) and value in NOT_FINITE:
        return NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return value


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps({name: encode(value) for name, value in record.items()}, allow_nan=False) + "\n"


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
        step = record["step"]
        if not isinstance(step, int) or isinstance(step, bool):
            raise ValueError(f"step is {step!r}")
        return {
            "step": step,
            **{name: float(decode(value)) for name, value in record.items() if name != "step"},
        }
    # Not only what JSON refuses: ten thousand brackets, or an integer that no float can hold.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(
            f"{where}: not a record of a metrics log ({error}): expected an object with a 'step' and numbers; take "
            "the line out to read the rest"
        ) from error
