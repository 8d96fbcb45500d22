"""Whether parameters, or the name of one, are those of a plan."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import numpy as np

from mupwd.paths import named_leaves
from mupwd.plan.errors import PlanError

if TYPE_CHECKING:
    from mupwd.plan.plan import Plan

_MOST_SHOWN = 5


def check(plan: Plan, params: Any) -> None:
    """Refuses parameters that a plan was not made for; see `Plan.check`."""
    unknown: list[str] = []
    different: list[str] = []
    for path, leaf in named_leaves(params).items():
        if path not in plan:
            unknown.append(path + nearest(plan, path))
        elif (shape := tuple(np.shape(leaf))) != plan[path].shape:
            different.append(f"{path}: {shape}, in the plan {plan[path].shape}")
    if different:
        what, lines = "have another shape than the plan was made for", different
    else:
        what, lines = "are not in the plan", unknown
    if lines:
        raise PlanError(
            f"{len(lines)} parameter(s) {what}:\n{_first(lines)}\n"
            "Make a plan for these parameters: family.plan(params)."
        )


def nearest(plan: Plan, path: str, n: int = 1) -> str:
    """Names of the plan that are like a path, in brackets; empty where none is."""
    near = difflib.get_close_matches(path, plan, n=n, cutoff=0.5)
    return f" (nearest: {', '.join(near)})" if near else ""


def _first(lines: list[str]) -> str:
    more = len(lines) - _MOST_SHOWN
    shown = [f"  {line}" for line in lines[:_MOST_SHOWN]]
    return "\n".join([*shown, f"  and {more} more"] if more > 0 else shown)
