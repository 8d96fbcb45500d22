"""What an optimizer refuses before it takes a step: unusable numbers, trees that the plan does not know."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.core import Tracer

from mupwd.paths import named_leaves, path_name
from mupwd.plan import PlanError

if TYPE_CHECKING:
    from mupwd.plan import ParameterPlan, Plan


def is_number(value: Any) -> bool:
    """Whether a value is a plain number that can be read once and for all.

    A `jax.Array` is not one, even a concrete one: `optax.inject_hyperparams` hands such arrays to the factory
    at every step, with a value that may have changed since.
    """
    return isinstance(value, numbers.Real)


def check_number(name: str, value: Any, *, zero: bool = True) -> None:
    """Refuses a hyperparameter that is no number, or whose value is known and cannot be meant.

    Args:
      name: the argument's name, for the message.
      value: a number or array; a tracer passes, since its value is not known.
      zero: whether 0 is allowed.

    Raises:
      TypeError: it is no number or array.
      ValueError: it is negative, NaN or infinite, or 0 where `zero` is false.
    """
    if isinstance(value, Tracer):
        return
    if isinstance(value, jax.Array):
        # A multi-process array can't be read here, and its value is checked where it was made.
        if not value.is_fully_addressable:
            return
    elif not is_number(value) and not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a number, a scalar array or a schedule; got {value!r}")
    known = np.asarray(value)
    usable = np.isfinite(known) & ((known >= 0) if zero else (known > 0))
    if not usable.all():
        wanted = "a finite number, 0 or more" if zero else "a finite number above 0"
        raise ValueError(f"{name} must be {wanted}; got {value}")


def check_rate(name: str, value: Any) -> None:
    """Refuses a learning rate or decay as `check_number` does; what a schedule returns is not known yet."""
    if not callable(value):
        check_number(name, value)


def check_tree(plan: Plan, params: Any) -> None:
    """Refuses a tree of parameters that the plan was not made for.

    Args:
      plan: the plan that the optimizer was given.
      params: the tree that `init` was given.

    Raises:
      PlanError: the tree has no names (as after `optax.flatten`), or holds a parameter that the plan doesn't
        know, or one of another shape.
    """
    if "" in named_leaves(params) and "" not in plan:
        raise PlanError(
            "the optimizer was given a single array, not a tree of named parameters, so no parameter can be "
            "found in the plan. optax.flatten does this: remove it (XLA fuses the per-parameter updates "
            "anyway), or wrap only the transforms that need it, outside those that take a plan"
        )
    plan.check(params)


def find(plan: Plan, name: str) -> ParameterPlan:
    """Returns the plan's entry for a parameter.

    Raises:
      PlanError: the plan has no such parameter. (`check_tree` says so in `init`; this is for an `update` on
        another tree than the state was made for.)
    """
    try:
        return plan[name]
    except KeyError:
        raise PlanError(
            f"the optimizer's update met a parameter {name!r} that is not in the plan; call tx.init(params) "
            "on the same tree first, it reports every parameter that does not fit"
        ) from None


def map_updates(fn: Callable[..., Any], updates: Any, *rest: Any) -> Any:
    """Maps `fn(name, update, *others)` over a tree of updates; a `None` stays `None`, as in optax."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf, *others: None if leaf is None else fn(path_name(path), leaf, *others),
        updates,
        *rest,
        is_leaf=lambda leaf: leaf is None,
    )


def times(value: Any, factor: float) -> Any:
    """Multiplies by a static factor; 1 leaves the program as it is, so that base == target is exact."""
    return value if factor == 1 else value * factor


def promoting_as_optax(update: Callable[..., Any]) -> Callable[..., Any]:
    """Runs an update under the dtype promotion that optax's own arithmetic counts on.

    Its schedules and bias correction mix the int32 step count with floats, which strict promotion refuses.
    """

    @functools.wraps(update)
    def promoting(*args: Any, **kwargs: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return update(*args, **kwargs)

    return promoting
