"""What runs trials: of the proxy, or of any model by the trial protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mupwd.sweep.trial import LOSS, Metrics, Train, Trial


class Measurement(NamedTuple):
    """How many trials to run in one program, and the seconds that each then takes, without compilation."""

    size: int
    seconds: float


class Runner(Protocol):
    """What runs trials; picklable, for other processes."""

    def run(self, trials: Sequence[Trial], folders: Sequence[Path | None]) -> list[Metrics]:
        """Runs a group of trials, each with a folder for what it writes; returns their metrics in the same order."""
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

    def run(self, trials: Sequence[Trial], folders: Sequence[Path | None]) -> list[Metrics]:
        """Runs each trial and returns their metrics.

        Raises:
          ValueError: the held-out loss is not among them.
        """
        found = []
        for one, folder in zip(trials, folders, strict=True):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            found.append(_plain(self._train(one.width, dict(one.hyperparameters), one.seed, folder)))
        return found

    def measure(self, trial: Trial, most: int) -> Measurement:
        """Takes trials as long as they come: nothing is known of the model."""
        return Measurement(1, math.nan)


def _plain(metrics: Mapping[str, Any]) -> Metrics:
    """Metrics as JSON types, whatever arrays a model's own function returned."""
    if not isinstance(metrics, Mapping) or LOSS not in metrics:
        found = ", ".join(map(str, metrics)) if isinstance(metrics, Mapping) else repr(metrics)
        raise ValueError(f"the train function returned no {LOSS!r}; it returned {found or 'nothing'}")
    if isinstance(metrics[LOSS], str):
        raise ValueError(
            f"the train function's {LOSS!r} is {metrics[LOSS]!r}; expected a number, NaN if it diverged"
        )
    # A boolean is an int to Python, and no number to JSON.
    return {
        str(name): one if isinstance(one, str) or type(one) is int else float(one)
        for name, one in metrics.items()
    }
