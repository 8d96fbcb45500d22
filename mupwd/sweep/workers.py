"""Workers on a cluster: as many as wanted are kept running until no trial is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from mupwd.sweep.errors import SweepError
from mupwd.sweep.known import Known, Ran
from mupwd.sweep.trial import Trial

_SECONDS_BETWEEN_LOOKS = 2.0
# Losses of one trial that a worker takes in before it gives the trial up, without retries.
_LOSSES = 4


WAITING = ("PENDING", "CONFIGURING")
"""States of workers that have no place yet."""


class Workers(Protocol):
    """Starts and watches processes, somewhere, that run what is missing of a sweep and end when nothing is.

    They share the sweep's directory and claim their trials there, so nobody hands them out, and they go on when the
    process that started them ends.

    Attributes:
      at_a_time: trials that each runs at the same time, as far as is known here.
    """

    at_a_time: int

    def start(self) -> str:
        """Starts one more worker, or queues it; returns its id; SweepError where that is refused."""
        ...

    def living(self) -> Mapping[str, str]:
        """Returns `{id: state}` of the workers that run or wait for a place, also those that an earlier driver left."""
        ...

    def last_words(self, worker: str) -> str:
        """Returns why a worker ended, as far as can be told, and where its log is."""
        ...

    def stop(self) -> None:
        """Ends all workers."""
        ...


def losses_of(retries: int) -> int:
    """Returns how often the process that runs a trial may end without a word before the trial counts as failed.

    More often than a trial may raise: on a cluster, processes end for reasons that lie elsewhere.

    Args:
      retries: of trials that raise.
    """
    return _LOSSES + retries


def supervise(
    known: Known,
    workers: Workers,
    count: int,
    notify: Callable[[str], None],
    check: Callable[[], None] = lambda: None,
    seconds: float = _SECONDS_BETWEEN_LOOKS,
) -> Ran:
    """Keeps workers running until a study is complete; one that ends before that is replaced.

    Args:
      known: of the study.
      workers: what starts and watches them.
      count: how many run at a time, and no more than trials are missing.
      notify: is told of workers that ended.
      check: called now and then; may raise to end the run.
      seconds: between looks.

    Raises:
      SweepError: workers end again and again, and no trial is finished or fails meanwhile.
      KeyboardInterrupt: the workers were stopped.
    """
    missing = known.missing()
    ours: set[str] = set()
    ended: list[str] = []
    refused = ""
    # A trial that ends every process costs so many of them until it counts as failed; each worker may have one such.
    most = (losses_of(known.retries) + 1) * count
    try:
        while True:
            check()
            # Before the results: a worker that ended since it was looked for had nothing left to do.
            living = workers.living()
            before = len(missing)
            missing = known.missing(lambda trial: _settled(known, trial))
            if not missing:
                workers.stop()
                known.progress.complete()
                return known.ran()
            if len(missing) < before:
                ended.clear()
            for worker in sorted(ours - living.keys()):
                ended.append(workers.last_words(worker))
                notify(f"worker {worker} ended ({ended[-1]}) with {len(missing)} trials missing")
            if len(ended) > most:
                # Those that still live would end the same way, and nobody would be told.
                workers.stop()
                raise SweepError(
                    f"{len(ended)} workers ended one after another, and no trial was finished or failed meanwhile; the "
                    f"last: {ended[-1]}. What is finished is kept; mend the cause and start the same command again"
                )
            ours = set(living)
            for _ in range(min(count, len(missing)) - len(living)):
                try:
                    ours.add(workers.start())
                except SweepError as error:
                    # Too many jobs, or a scheduler that is busy: those that live go on meanwhile.
                    if not ours:
                        raise
                    if str(error) != refused:
                        notify(f"{error}; {len(ours)} workers go on, and it is tried again")
                    refused = str(error)
                    break
            waiting = sum(state in WAITING for state in living.values())
            known.progress.working(len(living) - waiting, waiting, workers.at_a_time)
            time.sleep(seconds)
    except KeyboardInterrupt:
        workers.stop()
        raise


def _settled(known: Known, trial: Trial) -> None:
    if trial.id in known.results:
        known.progress.ran(known.results[trial.id])
    else:
        known.progress.failed(trial)
