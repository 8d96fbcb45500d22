"""How far a sweep is, as its directory tells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mupwd.sweep.claims import Claims
from mupwd.sweep.progress import median_seconds, seconds_of
from mupwd.sweep.store import Store
from mupwd.sweep.trial import Result, Trial


@dataclass(frozen=True)
class Status:
    """How many of a sweep's trials are where.

    Attributes:
      finished: with a loss.
      diverged: results as well.
      failed: whose last attempt raised or was killed; a start with more retries tries them again.
      running: claimed by living processes.
      waiting: all others.
      seconds: that the finished and diverged ones took.
      seconds_left: for what runs and waits, if as many run at a time as now; None where nothing runs or nothing was
        timed.
    """

    finished: int
    diverged: int
    failed: int
    running: int
    waiting: int
    seconds: float
    seconds_left: float | None

    @property
    def total(self) -> int:
        """All trials."""
        return self.finished + self.diverged + self.failed + self.running + self.waiting


def status(trials: Sequence[Trial], store: Store, claims: Claims) -> Status:
    """Returns how far the trials are.

    Args:
      trials: of the sweep.
      store: with their results.
      claims: of their directory; need not be entered.
    """
    held = set(claims.held())
    results: list[Result] = []
    failed, running, waiting = [], [], []
    for trial in trials:
        result = store.get(trial)
        if result is not None:
            results.append(result)
        elif trial.id in held:
            running.append(trial)
        elif store.failures(trial):
            failed.append(trial)
        else:
            waiting.append(trial)
    diverged = sum(not math.isfinite(result.loss) for result in results)
    left = _seconds(results, [*running, *waiting])
    return Status(
        len(results) - diverged,
        diverged,
        len(failed),
        len(running),
        len(waiting),
        sum(result.seconds for result in results),
        left / len(running) if left is not None and running else None,
    )


def _seconds(results: Sequence[Result], trials: Sequence[Trial]) -> float | None:
    """What trials will take."""
    if not results:
        return None
    known = median_seconds(results)
    return sum(seconds_of(trial.width, known) for trial in trials)
