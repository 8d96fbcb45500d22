"""Metrics logs as series, however damaged they are: what cannot be read is left out and counted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mupwd.files import read_file
from mupwd.proxy.metrics_log import FILE_NAME, NOT_FINITE


@dataclass
class Log:
    """The series of one run.

    Attributes:
      series: `{name: (steps, values)}`, in order of step; a step that was written twice counts last.
      left_out: lines that are no records.
      torn: whether the last line has no end: a write in progress, or one that a kill tore.
    """

    series: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    left_out: int = 0
    torn: bool = False

    @property
    def last_step(self) -> int | None:
        """The last step of any series; None where there is none."""
        return max((int(steps[-1]) for steps, _ in self.series.values()), default=None)


def read_log(directory: Path) -> Log:
    """Returns the log of a run's directory; an empty one where there is none.

    Args:
      directory: of the run.

    Raises:
      OSError: the file is there and cannot be read.
    """
    try:
        content = read_file(directory / FILE_NAME)
    except FileNotFoundError:
        return Log()
    *lines, rest = content.split(b"\n")
    found: dict[str, dict[int, float]] = {}
    left_out = 0
    for line in lines:
        try:
            record = json.loads(line)
            step = record["step"]
        # Brackets nested deep enough end the parser's recursion.
        except (ValueError, KeyError, TypeError, RecursionError):
            left_out += 1
            continue
        # Steps are drawn from float32, which counts whole numbers to here.
        if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 2**24:
            left_out += 1
            continue
        for name, value in record.items():
            if name in ("step", "time"):
                continue
            number = as_number(value)
            if number is not None:
                found.setdefault(name, {})[step] = number
    return Log({name: _arrays(values) for name, values in found.items()}, left_out, bool(rest))


def log_of(metrics: Mapping[str, Any], step: int) -> Log:
    """Returns what a finished trial ended with as a log of one step.

    Args:
      metrics: of the trial.
      step: of its end.
    """
    numbers = {name: as_number(value) for name, value in metrics.items()}
    return Log({name: _arrays({step: value}) for name, value in numbers.items() if value is not None})


def geometric_mean(
    some: Iterable[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the geometric mean of series over the steps that all of them have; None where there are none.

    Args:
      some: (steps, values) each.
    """
    some = list(some)
    steps = some[0][0]
    for other, _ in some[1:]:
        if len(other) != len(steps) or not np.array_equal(other, steps):
            steps = np.intersect1d(steps, other)
    if not len(steps):
        return None
    values = np.stack([one if len(at) == len(steps) else one[np.isin(at, steps)] for at, one in some])
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, np.exp(np.log(values).mean(axis=0))


def _arrays(values: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
    steps = np.fromiter(values.keys(), np.int64, len(values))
    numbers = np.fromiter(values.values(), np.float64, len(values))
    order = np.argsort(steps, kind="stable")
    return steps[order], numbers[order]


def as_number(value: Any) -> float | None:
    """Returns a JSON value as a number; None where it is none. "nan", "inf" and "-inf" are numbers.

    Args:
      value: of any JSON type.
    """
    if isinstance(value, str):
        return NOT_FINITE.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf if value > 0 else -math.inf
