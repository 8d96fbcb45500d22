"""What is known of a study that runs: its results, and which trials are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from mupwd.sweep.errors import TrialError
from mupwd.sweep.fixed import Wanted
from mupwd.sweep.progress import SweepProgress
from mupwd.sweep.store import Store
from mupwd.sweep.trial import Result, Trial

_TUNED = ("learning_rate", "weight_decay")


@dataclass(frozen=True)
class Ran:
    """What became of a study.

    Attributes:
      results: of all trials that finished or diverged, in an order that does not depend on which finished first.
      failed: `{trial: error of its last attempt}` of those that failed as often as they may.
    """

    results: list[Result]
    failed: dict[Trial, str]

    def complete(self) -> list[Result]:
        """Returns the results.

        Raises:
          TrialError: a trial failed.
        """
        if self.failed:
            trial, error = next(iter(self.failed.items()))
            more = f" and {len(self.failed) - 1} more" if len(self.failed) > 1 else ""
            raise TrialError(f"a trial failed ({trial}){more}; finished ones are kept:\n{error}")
        return self.results


@dataclass
class Known:
    """The results and failures of a study, read from its store.

    Args:
      study: says which trials it wants.
      store: holds the results.
      progress: is told of what is found.
      retries: how often a trial that fails is tried again.

    Attributes:
      results: by id.
      failed: by id, of those that failed as often as they may: the trial and its last error.
    """

    study: Wanted
    store: Store
    progress: SweepProgress
    retries: int = 0
    results: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, tuple[Trial, str]] = field(default_factory=dict)

    def missing(self, found: Callable[[Trial], None] | None = None) -> list[Trial]:
        """Returns the trials that are wanted and neither finished nor given up, as far as can be told now.

        Args:
          found: is told of each that turns out to be settled; by default the progress counts it as run earlier.
        """
        found = found or (lambda trial: self.progress.found(trial.width))
        self.store.refresh()
        while True:
            wanted = self.study.wanted(self.results.values(), self.failed)
            new = [trial for trial in wanted if trial.id not in self.results and trial.id not in self.failed]
            missing = [trial for trial in new if not self._settle(trial)]
            for trial in new:
                if trial.id in self.results or trial.id in self.failed:
                    found(trial)
            # Counted with what is finished, which may have been wanted only for a while.
            known = {trial.id: trial.width for trial in wanted} | {
                one.trial.id: one.trial.width for one in self.results.values()
            }
            self.progress.known(Counter(known.values()))
            # What was found may make the study want more.
            if missing or not new:
                return missing

    def ran(self) -> Ran:
        """Returns what became of the study."""
        results = sorted(self.results.values(), key=lambda result: _order(self.study, result.trial))
        return Ran(results, dict(self.failed.values()))

    def is_settled(self, trial: Trial) -> bool:
        """Returns whether a trial has finished, or has failed as often as it may, as the disk has it now."""
        self.store.refresh()
        return self.store.get(trial) is not None or len(self.store.failures(trial)) > self.retries

    def _settle(self, trial: Trial) -> bool:
        """Takes in a trial that has finished, or has failed as often as it may; whether it has."""
        found = self.store.get(trial)
        if found is not None:
            self.results[trial.id] = found
            return True
        errors = self.store.failures(trial)
        if len(errors) > self.retries:
            self.failed[trial.id] = trial, errors[-1]
        return trial.id in self.failed


def _order(study: Wanted, trial: Trial) -> tuple[object, ...]:
    values = trial.hyperparameters
    recipe = study.recipes.index(values["recipe"])
    return recipe, trial.width, *(values[name] for name in _TUNED), trial.seed, trial.share
