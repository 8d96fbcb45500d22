"""Runs a study to its end: what is finished is read, what is missing is run, here or by another process."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mupwd.sweep.calibration import Calibration
from mupwd.sweep.claims import Claims
from mupwd.sweep.fixed import Wanted
from mupwd.sweep.known import Known, Ran
from mupwd.sweep.local import Failed, LocalExecutor
from mupwd.sweep.progress import SweepProgress
from mupwd.sweep.runner import Measurement
from mupwd.sweep.store import Store
from mupwd.sweep.trial import Result, Trial

_SECONDS_BETWEEN_LOOKS = 0.5  # at what other processes have finished
_MOST_TOGETHER = 256  # trials in one program, where that pays
_SUSPICIOUS = 2  # losses of a trial after which it runs alone, and last


@dataclass
class _State:
    """How the trials of a study are run."""

    measured: dict[int, Measurement] = field(default_factory=dict)
    # Trials of a group that failed: which of them is to blame shows when each runs alone.
    alone: set[str] = field(default_factory=set)
    # Trials whose processes ended more than once: whatever ends them is not to end what runs with them.
    last: set[str] = field(default_factory=set)


def run_study(
    study: Wanted,
    store: Store,
    claims: Claims,
    executor: LocalExecutor,
    progress: SweepProgress,
    retries: int = 0,
    losses: int | None = None,
    calibration: Calibration | None = None,
    check: Callable[[], None] = lambda: None,
) -> Ran:
    """Runs what the study needs and the store does not hold; each result is recorded as soon as it is there.

    Several processes may do so in one directory: each trial is claimed before it starts.

    Args:
      study: says what to run next.
      store: holds the results.
      claims: entered.
      executor: runs the trials.
      progress: is told of each.
      retries: how often a trial that fails is tried again.
      losses: how often the process that runs a trial may end without a word before the trial has failed; None: as
        often as it likes, since somebody killed it and started another.
      calibration: keeps what is measured of trials for the next start.
      check: called between trials; may raise to end the run.

    Raises:
      OSError: a result could not be written.
    """
    known, state = Known(study, store, progress, retries), _State()
    while True:
        check()
        missing = known.missing()
        if not missing:
            progress.complete()
            return known.ran()
        claims.held()  # takes away those of dead owners, so that their losses are known
        lost = claims.losses()
        state.last = {trial.id for trial in missing if len(lost.get(trial.id, ())) >= _SUSPICIOUS}
        if losses is not None and _give_up(missing, lost, losses, known, claims):
            continue
        for width, one in _measure(missing, state.measured, executor, calibration).items():
            state.measured[width] = one
            progress.measured(width, one.seconds)
        ours = 0
        for outcome in executor.run(_groups(missing, state), lambda trial: _claim(trial, known, claims)):
            ours += 1
            if isinstance(outcome, Failed):
                # What a signal ended did not fail.
                check()
                _failed(outcome, store, claims, state)
                continue
            for result in outcome:
                _record(result, claims, known)
            check()
        if not ours:
            progress.waiting(len(missing))
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def _give_up(
    missing: Iterable[Trial], lost: Mapping[str, Sequence[str]], most: int, known: Known, claims: Claims
) -> bool:
    """Records as failed what ends every process that runs it; returns whether there was such a trial."""
    found = False
    for trial in missing:
        owners = lost.get(trial.id, ())
        if len(owners) >= most and _claim(trial, known, claims):
            found = True
            for owner in owners:
                known.store.put_failure(
                    trial, f"{owner} ended while it ran this; killed perhaps for want of memory"
                )
            claims.release(trial.id)
    return found


def _claim(trial: Trial, known: Known, claims: Claims) -> bool:
    if not claims.take(trial.id):
        return False
    # Finished, or given up, by another process since we looked.
    if known.is_settled(trial):
        claims.release(trial.id)
        return False
    return True


def _record(result: Result, claims: Claims, known: Known) -> None:
    try:
        known.store.put(result)
    except FileExistsError:
        # Our claim was taken away while we slept: the other process's result stands.
        result = known.store.get(result.trial) or result
    claims.release(result.trial.id)
    known.results[result.trial.id] = result
    known.progress.ran(result)


def _failed(outcome: Failed, store: Store, claims: Claims, state: _State) -> None:
    for trial in outcome.trials:
        if len(outcome.trials) > 1:
            state.alone.add(trial.id)
        else:
            store.put_failure(trial, outcome.error)
        claims.release(trial.id)


def _measure(
    missing: Sequence[Trial],
    measured: Mapping[int, Measurement],
    executor: LocalExecutor,
    calibration: Calibration | None,
) -> dict[int, Measurement]:
    """How to run the trials of the widths that have not been measured; one trial is not worth measuring for."""
    counts = Counter(trial.width for trial in missing)
    new = {trial.width: trial for trial in missing if trial.width not in measured and counts[trial.width] > 1}
    fewest = min((counts[width] for width in new), default=1)
    most = min(_MOST_TOGETHER, max(fewest // executor.processes, 1))
    kept = {width: calibration.get(trial, most) for width, trial in new.items()} if calibration else {}
    found = {width: one for width, one in kept.items() if one is not None}
    answers = executor.measure([trial for width, trial in new.items() if width not in found], most)
    for width, trial in new.items():
        if trial.id in answers and calibration is not None:
            calibration.put(trial, most, answers[trial.id])
        # Where measuring failed, the trial itself will, and say why.
        found.setdefault(width, answers.get(trial.id, Measurement(1, math.nan)))
    return found


def _groups(missing: Iterable[Trial], state: _State) -> list[list[Trial]]:
    """Trials that run together, the widest first: the last ones to finish are then short."""
    alike: dict[tuple[object, ...], list[Trial]] = defaultdict(list)
    groups = []
    for trial in missing:
        if trial.id in state.alone | state.last:
            groups.append([trial])
        else:
            alike[trial.kind].append(trial)
    for trials in alike.values():
        width = trials[0].width
        size = state.measured[width].size if width in state.measured else 1
        # Equal groups: each size is compiled anew.
        size = math.ceil(len(trials) / math.ceil(len(trials) / size))
        groups += [trials[start : start + size] for start in range(0, len(trials), size)]
    return sorted(groups, key=lambda group: (group[0].id in state.last, -group[0].width))
