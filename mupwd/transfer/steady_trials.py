"""What the checks of the steady state train: their plans, hyperparameters and trials, refused before they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mupwd.family import Family
from mupwd.plan import Plan
from mupwd.recipes import Recipe
from mupwd.scalars import check_number
from mupwd.transfer.steady_state import SteadyRun, judged_parameters, sigma_points

Train = Callable[[int, Mapping[str, Any], int, Path | None], Mapping[str, Any]]


def check_widths(widths: Sequence[int], seeds: Sequence[int]) -> None:
    """Refuses what no slope with an interval can be fitted to.

    Raises:
      ValueError: fewer than three different widths, or no seed.
      TypeError: seeds are given by their number.
    """
    if isinstance(seeds, int):
        raise TypeError(f"seeds: expected the seeds themselves, such as (0, 1, 2); found the number {seeds}")
    if len(set(widths)) < 3:
        raise ValueError(
            f"widths: a slope that is to be trusted needs three or more, got {sorted(set(widths))}"
        )
    if not seeds:
        raise ValueError("seeds: expected at least one, such as (0,); found none")


def common_hyperparameters(
    hyperparameters: Mapping[str, Any], family: Family, recipe: str | Recipe
) -> dict[str, Any]:
    """Returns what all trials of a check have in common.

    Args:
      hyperparameters: "learning_rate", "weight_decay", and whatever `train` wants.
      family: of the model.
      recipe: of the trials.

    Raises:
      ValueError: learning rate or decay are missing, or not finite numbers above 0.
    """
    for name in ("learning_rate", "weight_decay"):
        if name not in hyperparameters:
            raise ValueError(
                f"hyperparameters: expected {name!r}, at the base; found {', '.join(map(repr, hyperparameters))}"
            )
        try:
            check_number(name, hyperparameters[name], zero=False)
        except TypeError as error:
            raise ValueError(str(error)) from None
    return {**hyperparameters, "recipe": recipe, "base": family.base}


def steady_plans(family: Family, widths: Iterable[int], recipe: str | Recipe) -> dict[int, Plan]:
    """Returns the plan of each width; the form of the output rule, which no matrix depends on, is "forward".

    Args:
      family: of the model.
      widths: of the trials.
      recipe: the rule.

    Raises:
      ValueError: the rule decays no matrix.
    """
    plans = {width: family.plan(width, recipe=recipe, form="forward") for width in widths}
    for plan in plans.values():
        judged_parameters(plan)
    return plans


def trained(
    train: Train, width: int, hyperparameters: Mapping[str, Any], seed: int, plans: Mapping[int, Plan]
) -> SteadyRun:
    """Returns a trial that has just run; one without the metrics that its plan asks for ends the check at once.

    Args:
      train: as in `steady_state_check`.
      width: of the trial.
      hyperparameters: of the trial.
      seed: of the trial.
      plans: `{width: plan}`.

    Raises:
      ValueError: a metric is missing.
    """
    rate, decay = hyperparameters["learning_rate"], hyperparameters["weight_decay"]
    run = SteadyRun(width, rate, decay, seed, train(width, hyperparameters, seed, None))
    if not run.diverged:
        sigma_points([run], plans)
    return run
