"""Studies whose trials are all known beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from mupwd.sweep.trial import Result, Trial


class Wanted(Protocol):
    """What can be run to its end: it says from the results so far which trials it needs."""

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of the recipes that its trials run under."""
        ...

    def wanted(self, results: Iterable[Result], failed: Collection[str] = ()) -> list[Trial]:
        """Returns the trials that can be told to be needed, finished ones included; `failed`: ids of those given
        up."""
        ...

    def expected(self) -> dict[int, int]:
        """Returns `{width: trials}`, as far as is known beforehand."""
        ...


@dataclass(frozen=True)
class FixedStudy:
    """Trials that do not depend on each other's results.

    Args:
      trials: all of them; each has a "recipe" among its hyperparameters.
    """

    trials: tuple[Trial, ...]

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of the recipes, in order of appearance."""
        return tuple(dict.fromkeys(trial.hyperparameters["recipe"] for trial in self.trials))

    def wanted(self, results: Iterable[Result], failed: Collection[str] = ()) -> list[Trial]:
        """Returns all trials.

        Args:
          results: whatever is finished.
          failed: ids of the trials that were given up.
        """
        return list(self.trials)

    def expected(self) -> dict[int, int]:
        """Returns `{width: trials}`."""
        return dict(Counter(trial.width for trial in self.trials))
