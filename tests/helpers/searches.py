"""Searches over the synthetic losses, run to their end in this process."""

from __future__ import annotations

from typing import Any

from helpers.synthetic import train
from mupwd.sweep.halving import HalvingStudy
from mupwd.sweep.optuna_study import OptunaStudy, axis
from mupwd.sweep.search import Search
from mupwd.sweep.trial import Result, Trial

WIDTHS, SEEDS, STEPS = (32, 64, 128), (0, 1), 90
RATES = tuple(2.0**k for k in range(-10, -2))
DECAYS = tuple(2.0**k for k in range(-6, 1))


def halving(factor: int = 3, widths: tuple[int, ...] = WIDTHS, **given: Any) -> HalvingStudy:
    """Returns a study with successive halving."""
    everywhere = {width: {"steps": STEPS, "base": widths[0], **given} for width in widths}
    return HalvingStudy(widths, ("stays", "moves"), RATES, DECAYS, SEEDS, everywhere, factor=factor)


def optuna(trials: int = 20, widths: tuple[int, ...] = WIDTHS, **given: Any) -> OptunaStudy:
    """Returns a study in which Optuna chooses."""
    everywhere = {width: {"steps": STEPS, "base": widths[0], **given} for width in widths}
    return OptunaStudy(
        widths, ("stays", "moves"), axis(RATES), axis(DECAYS), SEEDS, everywhere, trials=trials
    )


def result(trial: Trial) -> Result:
    """Runs one trial."""
    return Result(trial, train(trial.width, trial.hyperparameters, trial.seed, None), 1.0)


def run(search: Search, failing: frozenset[str] = frozenset()) -> dict[str, Result]:
    """Runs a search to its end; trials whose ids are given fail."""
    results: dict[str, Result] = {}
    while True:
        wanted = search.wanted(results.values(), failing)
        new = [trial for trial in wanted if trial.id not in results and trial.id not in failing]
        if not new:
            return results
        results |= {trial.id: result(trial) for trial in new}
