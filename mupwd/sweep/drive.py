"""Runs a study to its end: what is finished is read, what is missing is run."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from mupwd.sweep.fixed import Wanted
from mupwd.sweep.local import LocalExecutor, Measurement
from mupwd.sweep.progress import SweepProgress
from mupwd.sweep.store import Store
from mupwd.sweep.trial import Result, Trial

_TUNED = ("learning_rate", "weight_decay")


def run_study(
    study: Wanted, store: Store, executor: LocalExecutor, progress: SweepProgress, most_together: int = 256
) -> list[Result]:
    """Runs what the study needs and the store does not hold; each result is recorded as soon as it is there.

    The store is to be locked by the caller.

    Args:
      study: says what to run next.
      store: holds the results.
      executor: runs the trials.
      progress: is told of each.
      most_together: trials in one program, where that pays.

    Returns:
      The results of all trials of the study, in an order that does not depend on which finished first.

    Raises:
      TrialError: a trial failed.
      OSError: a result could not be written.
    """
    results: dict[str, Result] = {}
    measured: dict[int, Measurement] = {}
    while True:
        wanted = study.wanted(results.values())
        new = [trial for trial in wanted if trial.id not in results]
        if not new:
            progress.complete()
            return sorted(results.values(), key=lambda result: _order(study, result.trial))
        missing = []
        for trial in new:
            found = store.get(trial)
            if found is None:
                missing.append(trial)
            else:
                results[trial.id] = found
                progress.found(trial.width)
        # Counted with what is finished, which may have been wanted only for a while.
        known = {trial.id: trial.width for trial in wanted} | {
            one.trial.id: one.trial.width for one in results.values()
        }
        progress.known(Counter(known.values()))
        for width, one in _measure(missing, measured, executor, most_together).items():
            measured[width] = one
            progress.measured(width, one.seconds)
        for group in executor.run(_groups(missing, measured)):
            for result in group:
                store.put(result)
                results[result.trial.id] = result
                what = f"{result.trial.hyperparameters['recipe']}, width {result.trial.width}"
                progress.finished(result.trial.width, result.seconds, what)


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
    return {width: answers[trial.id] for width, trial in new.items()}


def _groups(missing: Iterable[Trial], measured: Mapping[int, Measurement]) -> list[list[Trial]]:
    """Trials that run together, the widest first: the last ones to finish are then short."""
    alike: dict[tuple[object, ...], list[Trial]] = defaultdict(list)
    for trial in missing:
        alike[trial.kind].append(trial)
    groups = []
    for trials in alike.values():
        width = trials[0].width
        size = measured[width].size if width in measured else 1
        # Equal groups: each size is compiled anew.
        size = math.ceil(len(trials) / math.ceil(len(trials) / size))
        groups += [trials[start : start + size] for start in range(0, len(trials), size)]
    return sorted(groups, key=lambda group: -group[0].width)
