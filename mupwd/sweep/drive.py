"""Runs a study to its end: what is finished is read, what is missing is run, here or by another process."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mupwd.sweep.claims import Claims
from mupwd.sweep.errors import TrialError
from mupwd.sweep.fixed import Wanted
from mupwd.sweep.local import Failed, LocalExecutor, Measurement
from mupwd.sweep.progress import SweepProgress
from mupwd.sweep.store import Store
from mupwd.sweep.trial import Result, Trial

_TUNED = ("learning_rate", "weight_decay")
_SECONDS_BETWEEN_LOOKS = 0.5  # at what other processes have finished


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
class _State:
    """What is known while a study runs."""

    results: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, tuple[Trial, str]] = field(default_factory=dict)
    measured: dict[int, Measurement] = field(default_factory=dict)
    # Trials of a group that failed: which of them is to blame shows when each runs alone.
    alone: set[str] = field(default_factory=set)


def run_study(
    study: Wanted,
    store: Store,
    claims: Claims,
    executor: LocalExecutor,
    progress: SweepProgress,
    retries: int = 0,
    most_together: int = 256,
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
      most_together: trials in one program, where that pays.
      check: called between trials; may raise to end the run.

    Raises:
      OSError: a result could not be written.
    """
    state = _State()
    while True:
        check()
        missing = _missing(study, store, progress, state, retries)
        if not missing:
            progress.complete()
            results = sorted(state.results.values(), key=lambda result: _order(study, result.trial))
            return Ran(results, dict(state.failed.values()))
        for width, one in _measure(missing, state.measured, executor, most_together).items():
            state.measured[width] = one
            progress.measured(width, one.seconds)
        ours = 0
        for outcome in executor.run(_groups(missing, state), lambda trial: _claim(trial, store, claims)):
            ours += 1
            if isinstance(outcome, Failed):
                _failed(outcome, store, claims, state)
                continue
            for result in outcome:
                _record(result, store, claims, progress, state)
            check()
        if not ours:
            progress.waiting(len(missing))
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def _missing(
    study: Wanted, store: Store, progress: SweepProgress, state: _State, retries: int
) -> list[Trial]:
    """The trials that are wanted and neither finished nor given up."""
    while True:
        wanted = study.wanted(state.results.values())
        new = [trial for trial in wanted if trial.id not in state.results and trial.id not in state.failed]
        missing = [trial for trial in new if not _is_settled(trial, store, state, retries)]
        for trial in new:
            if trial.id in state.results or trial.id in state.failed:
                progress.found(trial.width)
        # Counted with what is finished, which may have been wanted only for a while.
        known = {trial.id: trial.width for trial in wanted} | {
            one.trial.id: one.trial.width for one in state.results.values()
        }
        progress.known(Counter(known.values()))
        # What was found may make the study want more.
        if missing or not new:
            return missing


def _is_settled(trial: Trial, store: Store, state: _State, retries: int) -> bool:
    """Whether a trial has finished, or has failed as often as it may."""
    found = store.get(trial)
    if found is not None:
        state.results[trial.id] = found
        return True
    errors = store.failures(trial)
    if len(errors) > retries:
        state.failed[trial.id] = trial, errors[-1]
    return trial.id in state.failed


def _claim(trial: Trial, store: Store, claims: Claims) -> bool:
    if not claims.take(trial.id):
        return False
    # Finished by another process since we looked.
    if store.get(trial) is not None:
        claims.release(trial.id)
        return False
    return True


def _record(result: Result, store: Store, claims: Claims, progress: SweepProgress, state: _State) -> None:
    try:
        store.put(result)
    except FileExistsError:
        # Our claim was taken away while we slept: the other process's result stands.
        result = store.get(result.trial) or result
    claims.release(result.trial.id)
    state.results[result.trial.id] = result
    what = f"{result.trial.hyperparameters['recipe']}, width {result.trial.width}"
    progress.finished(result.trial.width, result.seconds, what)


def _failed(outcome: Failed, store: Store, claims: Claims, state: _State) -> None:
    for trial in outcome.trials:
        if len(outcome.trials) > 1:
            state.alone.add(trial.id)
        else:
            store.put_failure(trial, outcome.error)
        claims.release(trial.id)


def _order(study: Wanted, trial: Trial) -> tuple[object, ...]:
    values = trial.hyperparameters
    recipe = study.recipes.index(values["recipe"])
    return recipe, trial.width, *(values[name] for name in _TUNED), trial.seed


def _measure(
    missing: Sequence[Trial], measured: Mapping[int, Measurement], executor: LocalExecutor, most: int
) -> dict[int, Measurement]:
    """How to run the trials of the widths that have not been measured; one trial is not worth measuring for."""
    counts = Counter(trial.width for trial in missing)
    new = {trial.width: trial for trial in missing if trial.width not in measured and counts[trial.width] > 1}
    fewest = min((counts[width] for width in new), default=1)
    answers = executor.measure(list(new.values()), min(most, max(fewest // executor.processes, 1)))
    # Where measuring failed, the trial itself will, and say why.
    return {width: answers.get(trial.id, Measurement(1, math.nan)) for width, trial in new.items()}


def _groups(missing: Iterable[Trial], state: _State) -> list[list[Trial]]:
    """Trials that run together, the widest first: the last ones to finish are then short."""
    alike: dict[tuple[object, ...], list[Trial]] = defaultdict(list)
    groups = []
    for trial in missing:
        if trial.id in state.alone:
            groups.append([trial])
        else:
            alike[trial.kind].append(trial)
    for trials in alike.values():
        width = trials[0].width
        size = state.measured[width].size if width in state.measured else 1
        # Equal groups: each size is compiled anew.
        size = math.ceil(len(trials) / math.ceil(len(trials) / size))
        groups += [trials[start : start + size] for start in range(0, len(trials), size)]
    return sorted(groups, key=lambda group: -group[0].width)
