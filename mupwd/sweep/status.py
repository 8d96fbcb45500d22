"""How far a sweep is, as its directory tells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mupwd.sweep.claims import Claims
from mupwd.sweep.fixed import Wanted
from mupwd.sweep.progress import median_seconds, seconds_of
from mupwd.sweep.store import Store
from mupwd.sweep.trial import Result, Trial

_PAUSE = 5.0  # times the longest trial: where nothing is recorded for so long, nobody was at work
_ENOUGH = 5


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
      seconds_left: for what runs and waits, at the pace since nothing was recorded for long; None where nothing runs
        or nothing was timed.
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
    held = set(claims.running())
    missing = [trial for trial in wanted if trial.id not in results]
    running = [trial for trial in missing if trial.id in held]
    failed = [trial for trial in missing if trial.id not in held and store.failures(trial)]
    waiting = len(missing) - len(running) - len(failed)
    diverged = sum(not math.isfinite(result.loss) for result in results.values())
    # Complete, where nothing is wanted that is not over.
    more = unknown(study, wanted) if running or waiting else {}
    known = median_seconds(results.values())
    left = None
    if running and known:
        left = _seconds(known, [trial for trial in missing if trial not in failed], more)
        left /= _at_a_time(known, results.values(), store) or len(running)
    return Status(
        len(results) - diverged,
        diverged,
        len(failed),
        len(running),
        waiting,
        sum(more.values()),
        sum(result.seconds for result in results.values()),
        left,
    )


def unknown(study: Wanted, wanted: Iterable[Trial]) -> dict[int, int]:
    """Returns `{width: about how many trials more than are known to be wanted}`."""
    counts = Counter(trial.width for trial in wanted)
    return {width: max(expected - counts[width], 0) for width, expected in study.expected().items()}


def _seconds(known: Mapping[int, float], trials: Iterable[Trial], more: Mapping[int, int]) -> float:
    """What trials will take, and whole ones that are not known yet."""
    total = sum(trial.share * seconds_of(trial.width, known) for trial in trials)
    return total + sum(count * seconds_of(width, known) for width, count in more.items())


def _at_a_time(known: Mapping[int, float], results: Iterable[Result], store: Store) -> float | None:
    """How many seconds of trials passed in a second, since nothing was recorded for long; None: too little did.

    Claims do not tell it: some trials run in one program, and others wait for it.
    """
    records = sorted(((store.recorded_at(one.trial), one) for one in results), key=lambda pair: pair[0])
    start = len(records) - 1
    while start > 0 and records[start][0] - records[start - 1][0] < _PAUSE * max(known.values()):
        start -= 1
    passed = records[-1][0] - records[start][0]
    done = [result.trial for when, result in records if when > records[start][0]]
    if len(done) < _ENOUGH or passed <= 0:
        return None
    return sum(trial.share * seconds_of(trial.width, known) for trial in done) / passed
