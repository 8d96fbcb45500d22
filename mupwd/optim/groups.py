"""Optimizers whose own code has the learning rate inside: one of them for each set of parameters with equal numbers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

import optax

from mupwd.optim.checks import check_tree, find, times
from mupwd.paths import map_named

if TYPE_CHECKING:
    from mupwd.plan import ParameterPlan, Plan


def grouped(
    plan: Plan,
    factors: Callable[[ParameterPlan], tuple[float, ...]],
    make: Callable[..., optax.GradientTransformation],
) -> optax.GradientTransformationExtraArgs:
    """Returns a transform that runs `make(*factors)` on each set of parameters with equal factors.

    Args:
      plan: of the parameters.
      factors: what multiplies a parameter's hyperparameters.
      make: returns the transform of a set, from its factors.
    """
    sets: dict[Hashable, optax.GradientTransformation] = {
        repr(numbers): make(*numbers) for numbers in map(factors, plan.values())
    }

    def labels(params: Any) -> Any:
        return map_named(lambda name, _: repr(factors(find(plan, name))), params)

    split = optax.partition(sets, labels)

    def init(params: Any) -> Any:
        check_tree(plan, params)
        return split.init(params)

    return optax.GradientTransformationExtraArgs(init, split.update)


def scaled(value: Any, factor: float) -> Any:
    """Multiplies a hyperparameter, or what a schedule returns, by a factor; by 1 it is left as it is."""
    if factor == 1 or not callable(value):
        return times(value, factor)
    schedule: Callable[[Any], Any] = value
    return lambda count: schedule(count) * factor
