"""Whether parameters, or the name of one, are those of a plan; whether it is a plan at all."""

from __future__ import annotations

import difflib
import reprlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from mupwd.paths import named_leaves
from mupwd.plan.errors import PlanError
from mupwd.plan.layers import shown
from mupwd.plan.plan import Plan

_MOST_SHOWN = 5


def check_is_plan(plan: Any) -> None:
    """Refuses what is given in the place of a plan: a family, a dict of factors, nothing.

    Args:
      plan: what an optimizer or a diagnostic was given.

    Raises:
      TypeError: it is no plan.

    Example:
      >>> check_is_plan({"up": 0.25})
      Traceback (most recent call last):
      ...
      TypeError: plan must be a mupwd.Plan, as family.plan(width) returns it; got dict ({'up': 0.25})
    """
    if not isinstance(plan, Plan):
        raise TypeError(
            f"plan must be a mupwd.Plan, as family.plan(width) returns it; got {type(plan).__name__} "
            f"({reprlib.repr(plan)})"
        )


def check(plan: Plan, params: Any) -> None:
    """Refuses parameters that a plan was not made for; see `Plan.check`."""
    unknown: list[str] = []
    different: list[str] = []
    for path, leaf in named_leaves(params).items():
        if path not in plan:
            unknown.append(shown(path) + (_not_moved(leaf) or nearest(plan, path)))
        elif (shape := tuple(np.shape(leaf))) != plan[path].shape:
            different.append(f"{shown(path)}: {shape}, in the plan {plan[path].shape}")
    if different:
        what, lines = "have another shape than the plan was made for", different
    else:
        what, lines = "are not in the plan", unknown
    if lines:
        raise PlanError(
            f"{len(lines)} parameter(s) {what}:\n{_first(lines)}\n"
            "Make a plan for these parameters: family.plan(params)."
        )


def _not_moved(leaf: Any) -> str:
    """What a leaf is that no plan can have; empty for an array of floating-point numbers."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, np.inexact):
        return ""
    what = type(leaf).__name__ if dtype is None else f"of dtype {dtype}"
    return (
        f" ({what}, which no optimizer moves and no plan has: leave it out, or hide it as optax.masked, "
        "optax.partition and equinox.filter do)"
    )


def nearest(plan: Plan, path: str, n: int = 1) -> str:
    """Names of the plan that are like a path, in brackets; empty where none is."""
    near = difflib.get_close_matches(path, plan, n=n, cutoff=0.5)
    return f" (nearest: {', '.join(near)})" if near else ""


def _first(lines: list[str]) -> str:
    more = len(lines) - _MOST_SHOWN
    shown = [f"  {line}" for line in lines[:_MOST_SHOWN]]
    return "\n".join([*shown, f"  and {more} more"] if more > 0 else shown)
