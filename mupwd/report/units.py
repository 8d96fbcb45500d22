"""What the learning rates and weight decays of runs are relative to: the base, whatever widths were run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from mupwd.report.runs import Group, Run
from mupwd.report.setting import Factors, Setting
from mupwd.transfer import RecipeScore


@dataclass(frozen=True)
class Units:
    """Of one recipe.

    Attributes:
      base: the width at which learning rates and decays mean what they say.
      tuned: what a matrix's learning rate and decay are multiplied by at the width that was tuned; None where unknown.
      target: likewise at the target.
    """

    base: int
    tuned: Factors | None
    target: Factors | None


def units_of(group: Group, score: RecipeScore) -> Units:
    """Returns the units of a recipe's runs, from their plans; without these from what a sweep says of itself.

    Args:
      group: with its runs.
      score: of the recipe.
    """
    said = units_said(group.setting, score)
    runs = [run for run in group.runs if run.recipe == score.recipe]
    base = next(iter(known_bases(runs)), said.base)

    def at(width: int, otherwise: Factors | None) -> Factors | None:
        plans = (_of_matrix(run) for run in runs if run.width == width)
        found = next((one for one in plans if one is not None), otherwise)
        return (1.0, 1.0) if found is None and width == base else found

    return Units(base, at(score.tuned_at, said.tuned), at(score.target, said.target))


def units_said(setting: Setting | None, score: RecipeScore) -> Units:
    """Returns the units as far as a sweep says them of itself.

    Args:
      setting: of the sweep; None where it says nothing.
      score: of the recipe.
    """
    tuned_at = score.tuned_at
    if setting is None:
        return Units(tuned_at, None, None)
    return Units(setting.base or tuned_at, *setting.factors(score.recipe))


def known_bases(runs: Iterable[Run]) -> list[int]:
    """Returns the bases that runs say they have, the lowest first.

    Args:
      runs: of one recipe.
    """
    return sorted({run.base for run in runs} - {0})


def _of_matrix(run: Run) -> Factors | None:
    if run.plan is None:
        return None
    found = next(((one.lr, one.wd) for one in run.plan.values() if one.role == "matrix"), None)
    # A file may hold anything.
    good = found is not None and all(isinstance(one, int | float) and 0 <= one < math.inf for one in found)
    return found if good and found is not None and found[0] > 0 else None
