"""How far a sweep is, as its directory tells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mupwd.sweep.claims import Claims
from mupwd.sweep.fixed import Wanted
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
      waiting: all others that are known to be wanted.
      unknown: about how many more there will be, of a study in which losses decide.
      seconds: that the finished and diverged ones took.
      seconds_left: for what runs and waits, if as many run at a time as now; None where nothing runs or nothing was
        timed.
    """

    finished: int
    diverged: int
    failed: int
    running: int
    waiting: int
    unknown: int
    seconds: float
    seconds_left: float | None

    @property
    def total(self) -> int:
        """All trials that are known to be wanted."""
        return self.finished + self.diverged + self.failed + self.running + self.waiting


def look(study: Wanted, store: Store | None) -> tuple[list[Trial], dict[str, Result]]:
    """Returns the trials that a study wants as far as can be told, and the results of those that have one, by id.

    Args:
      study: says which trials it wants.
      store: with results and failures; None: there are none.
    """
    results: dict[str, Result] = {}
    failed: set[str] = set()
    while True:
        wanted = study.wanted(results.values(), failed)
        before = len(results) + len(failed)
        for trial in wanted:
            if store is None or trial.id in results or trial.id in failed:
                continue
            result = store.get(trial)
            if result is not None:
                results[trial.id] = result
            elif store.failures(trial):
                failed.add(trial.id)
        # What was found may make the study want more.
        if len(results) + len(failed) == before:
            return wanted, results


def status(study: Wanted, store: Store, claims: Claims) -> Status:
    """Returns how far a study is.

    Args:
      study: of the sweep.
      store: with its results.
      claims: of its directory; need not be entered.
    """
    wanted, results = look(study, store)
    held = set(claims.held())
    missing = [trial for trial in wanted if trial.id not in results]
    running = [trial for trial in missing if trial.id in held]
    failed = [trial for trial in missing if trial.id not in held and store.failures(trial)]
    waiting = len(missing) - len(running) - len(failed)
    diverged = sum(not math.isfinite(result.loss) for result in results.values())
    # Complete, where nothing is wanted that is not over.
    more = unknown(study, wanted) if running or waiting else {}
    left = _seconds(results.values(), [trial for trial in missing if trial not in failed], more)
    return Status(
        len(results) - diverged,
        diverged,
        len(failed),
        len(running),
        waiting,
        sum(more.values()),
        sum(result.seconds for result in results.values()),
        left / len(running) if left is not None and running else None,
    )


def unknown(study: Wanted, wanted: Iterable[Trial]) -> dict[int, int]:
    """Returns `{width: about how many trials more than are known to be wanted}`."""
    counts = Counter(trial.width for trial in wanted)
    return {width: max(expected - counts[width], 0) for width, expected in study.expected().items()}


def _seconds(results: Collection[Result], trials: Iterable[Trial], more: Mapping[int, int]) -> float | None:
    """What trials will take, and whole ones that are not known yet."""
    if not results:
        return None
    known = median_seconds(results)
    total = sum(trial.share * seconds_of(trial.width, known) for trial in trials)
    return total + sum(count * seconds_of(width, known) for width, count in more.items())
