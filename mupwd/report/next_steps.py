"""What a person should do next, in sentences."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from mupwd.report.headline import overall, usable
from mupwd.transfer import RecipeScore
from mupwd.transfer.steady import SteadyLine


def next_steps(
    score: RecipeScore,
    base: int,
    ratios: Mapping[str, float],
    steady: Sequence[SteadyLine],
    failed: Sequence[str],
    others: Sequence[str],
) -> list[str]:
    """Returns what to do about one recipe.

    Args:
      score: of the recipe.
      base: the width whose units its learning rates and decays are in.
      ratios: of what else than width differs at the target from the base.
      steady: the lines of its steady state, at the tuned pair.
      failed: names that its coordinate check failed.
      others: which recipes to take in its place, in words.
    """
    mark, tuned_at = overall(score), score.tuned_at
    found = [f"{name} fails the coordinate check: look at its panel first" for name in failed[:3]]
    found += failing(steady)
    if tuned_at == score.target:
        return [
            *found,
            "run the same learning rates and weight decays at another width: in the directory of a sweep, mupwd sweep "
            f"DIR --widths {tuned_at},{2 * tuned_at}",
        ]
    if mark == "good" or (mark == "open" and usable(score)):
        lr, wd = score.tuned
        recipe = shlex.quote(score.recipe)
        besides = "".join(f"--{name} {value:g} " for name, value in ratios.items())
        found.append(
            f"what the pair that was tuned at width {tuned_at} becomes for each parameter at width {score.target}: "
            f"mupwd plan --base {base} --width {score.target} --recipe {recipe} --learning_rate {lr:g} "
            f"--weight_decay {wd:g} {besides}package.module:build"
        )
    elif mark == "bad":
        other = next(iter(others), "mupwd check finds the layer that breaks it")
        found.append(f"do not carry values of width {tuned_at} over with this rule; {other}")
    drifts = {"learning rate": score.learning_rate_drift, "weight decay": score.weight_decay_drift}
    for what, drift in drifts.items():
        if drift is None:
            found.append(f"{what}: run three values or more at every width")
        elif drift.verdict == "undecided" and drift.advice:
            found.append(f"{what}: {drift.advice}")
    if any(drift and "extend" in drift.advice for drift in drifts.values()):
        found.append("mupwd sweep DIR --extend runs the grid beyond its edges")
    return found


def failing(steady: Sequence[SteadyLine]) -> list[str]:
    """Returns the kinds of layers that fail, the worst first, and what would mend them.

    Args:
      steady: the lines of a recipe's steady state.
    """
    found = []
    bad = [line for line in steady if line.verdict == "fail"]
    for line in sorted(bad, key=lambda line: -abs(line.slope or 0.0))[:3]:
        what = "top singular value" if line.quantity == "sigma" else "gain"
        moves = " is not finite" if line.slope is None else f" goes as m^{line.slope:+.2f}"
        wanted = (
            "" if line.implied_decay is None else f"; a decay of m^{line.implied_decay:.2f} would keep it"
        )
        found.append(f"{line.name}: its {what}{moves}{wanted}")
    if bad:
        found.append("mupwd check --fit measures which decay each kind of layer wants")
    return found


def decided_by(steady: Sequence[SteadyLine]) -> str:
    """Returns what would decide those that are open.

    Args:
      steady: the lines of a recipe's steady state.
    """
    if any(line.verdict == "too short" for line in steady):
        return "run longer: the table of slopes says how many steps each width takes"
    return "more widths, or more seeds: the table of slopes says how many decide"
