"""In what two plans differ: may a run that was saved with one go on with the other?"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from mupwd.plan.errors import PlanError
from mupwd.plan.parameter import ParameterPlan
from mupwd.plan.plan import Plan
from mupwd.recipes import Powers, Recipe, Rule
from mupwd.tracing.roles import Parameter

_MOST_SHOWN = 10
_RATIOS = ("depth_ratio", "batch_ratio", "token_ratio", "sequence_ratio", "beta_ratio", "residual_scale")
# What a parameter is; where that differs, its multipliers do in consequence.
_FACTS = tuple(
    f.name
    for f in dataclasses.fields(Parameter)
    if f.name not in ("path", "uses", "folds", "unfoldable", "altered")
)
_MULTIPLIERS = tuple(
    f.name for f in dataclasses.fields(ParameterPlan) if f.name not in ("parameter", "shape")
)


def differences(plan: Plan, saved: Plan) -> tuple[str, ...]:
    """Returns in what two plans differ, a line each: the recipe, the form, the ratios, and groups of parameters.

    Not compared is what has no part in training: source lines of the model, the order of the parameters, and the
    widths' names where all shapes are the same.

    Args:
      plan: the one at hand.
      saved: the one it is held against.

    Returns:
      Lines such as `"form: folded, saved forward"`; none where a run of one is a run of the other.

    Example:
      >>> import numpy as np, mupwd
      >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
      >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"})
      >>> for line in differences(family.plan(shapes(32)), family.plan(shapes(32), recipe="mup")):
      ...     print(line)
      recipe: mupwd, saved mup
      recipe, eps of matrix: m_out^-1, saved 1
      recipe, wd of matrix: m_in^0.5, saved 1
      wd 2.0, saved 1.0; eps 0.25, saved 1.0: up
    """
    found = [*_of_recipes(plan.rules, saved.rules, {p.role for p in (*plan.parameters, *saved.parameters)})]
    found += _compared("form", plan.form, saved.form)
    for name in _RATIOS:
        found += _compared(name, getattr(plan, name), getattr(saved, name))
    found += _compared("products of activations", *(_logits(one) for one in (plan, saved)))
    found += _of_parameters(plan, saved)
    if found:
        # First, as they explain the others.
        widths = [(name, getattr(plan, name), getattr(saved, name)) for name in ("base", "width")]
        found[:0] = [line for name, *both in widths if None not in both for line in _compared(name, *both)]
    return tuple(found)


def check_same(plan: Plan, saved: Plan) -> None:
    """Refuses to go on with a plan where another was saved; see `Plan.check_same`."""
    found = differences(plan, saved)
    if found:
        more = len(found) - _MOST_SHOWN
        shown = [*found[:_MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise PlanError(
            f"the saved plan is another one; {len(found)} difference(s):\n"
            + "\n".join(f"  {line}" for line in shown)
            + "\nGo on with the plan that was saved, or make this one as that one was made."
        )


def _compared(name: str, mine: Any, saved: Any) -> list[str]:
    return [] if mine == saved else [f"{name}: {mine}, saved {saved}"]


def _of_recipes(mine: Recipe, saved: Recipe, roles: set[str]) -> Iterator[str]:
    yield from _compared("recipe", mine.name, saved.name)
    for role in sorted(roles):
        for quantity in sorted(field.name for field in dataclasses.fields(Rule)):
            both = (getattr(getattr(one, role), quantity) for one in (mine, saved))
            yield from _compared(f"recipe, {quantity} of {role}", *map(_formula, both))
    for name in ("residual", "one_minus_beta"):
        yield from _compared(f"recipe, {name}", getattr(mine, name).formula, getattr(saved, name).formula)
    for name in ("logits", "decay_exponents"):
        yield from _compared(f"recipe, {name}", getattr(mine, name), getattr(saved, name))


def _formula(powers: Powers | None) -> str:
    return "none" if powers is None else powers.formula


def _logits(plan: Plan) -> list[tuple[str, int, float]]:
    return [(one.axes, one.size, one.exponent) for one in plan.logits]


def _of_parameters(plan: Plan, saved: Plan) -> Iterator[str]:
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for path in (*plan, *(path for path in saved if path not in plan)):
        if path not in saved:
            alike["not in the saved plan"].append(path)
        elif path not in plan:
            alike["only in the saved plan"].append(path)
        elif text := _of_one(plan[path], saved[path]):
            alike[text].append(path)
    for text, paths in alike.items():
        yield f"{text}: {paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def _of_one(mine: ParameterPlan, saved: ParameterPlan) -> str:
    facts = [("shape", mine.shape, saved.shape)]
    facts += [
        ("base shape" if name == "shape" else name, *_both(name, mine.parameter, saved.parameter))
        for name in _FACTS
    ]
    multipliers = [(name, *_both(name, mine, saved)) for name in _MULTIPLIERS]
    for values in (facts, multipliers):
        if lines := [f"{name} {a}, saved {b}" for name, a, b in values if a != b]:
            return "; ".join(lines)
    return ""


def _both(name: str, mine: Any, saved: Any) -> tuple[Any, Any]:
    return getattr(mine, name), getattr(saved, name)
