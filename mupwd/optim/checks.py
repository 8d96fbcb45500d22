"""What an optimizer refuses before it takes a step: no plan, trees that the plan does not know."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import jax

from mupwd.paths import named_leaves, path_name
from mupwd.plan import PlanError

if TYPE_CHECKING:
    from mupwd.plan import ParameterPlan, Plan

_T = TypeVar("_T")


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


def covering(given: Mapping[str, _T], name: str, argument: str, expected: str) -> _T:
    """Returns what a tree of prefixes, as masks are, says of a parameter.

    Args:
      given: by the names of the parameters, or of the parts of the tree that hold them.
      name: of the parameter.
      argument: that the tree was given as, for the message.
      expected: what to give, for the message.

    Raises:
      ValueError: nothing in it covers the parameter.
    """
    prefix = name
    while prefix not in given:
        if not prefix:
            raise ValueError(f"{argument}: nothing in it covers the parameter {name!r}; give {expected}")
        prefix = prefix.rpartition("/")[0]
    return given[prefix]


def is_zero(value: Any) -> bool:
    """Whether a learning rate or decay is known, and 0: its link of the chain then does nothing."""
    return isinstance(value, int | float) and value == 0


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
