"""Gradients in the base's units, for optimizers whose step depends on how large they are."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import jax
import optax

from mupwd.optim.checks import check_tree, find, map_updates
from mupwd.plan.fit import check_is_plan

if TYPE_CHECKING:
    from mupwd.plan import ParameterPlan, Plan


def scale_by_plan_gradient(
    plan: Plan, unit: Literal["gradient_size", "eps"] = "gradient_size"
) -> optax.GradientTransformation:
    r"""Divides each gradient by how much larger or smaller than the base's it is expected to be.

    $$g_i \leftarrow g_i / f_i$$

    with $f$ the plan's `gradient_size`. After it, an optimizer sees at every width gradients as large as those that it
    was tuned on: its thresholds, accumulators and eps mean the same, and where its step is proportional to the gradient
    (SGD, momentum), the step has the size that the plan's learning rates are stated for. So::

        optax.chain(
            mupwd.optim.scale_by_plan_gradient(plan),
            optax.trace(0.9),
            mupwd.add_plan_decayed_weights(weight_decay, plan),
            mupwd.scale_by_plan_learning_rate(learning_rate, plan),
        )

    is SGD with momentum and decoupled decay by the rule.

    Args:
      plan: multipliers per parameter.
      unit: "eps" divides by the plan's `eps` instead: for an optimizer that only its eps ties to the gradient's size,
        this scales eps as the recipe says and nothing else.

    Returns:
      A transform without state; the identity, bit for bit, at the base.

    Raises:
      TypeError: `plan` is no plan.
      ValueError: another unit.
      PlanError: (from `init`) the parameters do not fit the plan.

    Example:
      >>> import jax, jax.numpy as jnp, mupwd
      >>> shapes = lambda d: {"kernel": jnp.ones((d, d))}
      >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"kernel": "in out"})
      >>> params = shapes(32)
      >>> tx = mupwd.optim.scale_by_plan_gradient(family.plan(params))
      >>> updates, _ = tx.update(params, tx.init(params))
      >>> print(updates["kernel"][0, 0])  # a gradient is expected to have 1/4 of the base's size
      4.0

    Source: Yang et al., "Tensor Programs V", arXiv 2203.03466, Table 8, whose SGD column follows from the Adam column
    and the size of the gradients; docs/rules.md derives it.
    """
    check_is_plan(plan)
    if unit not in ("gradient_size", "eps"):
        raise ValueError(f"unit must be 'gradient_size' or 'eps'; got {reprlib.repr(unit)}")
    return divide_by(plan, lambda one: getattr(one, unit))


def divide_by(plan: Plan, factor_of: Callable[[ParameterPlan], float]) -> optax.GradientTransformation:
    """Returns a transform without state that divides each parameter's update by a factor; by 1 it is left as it is.

    Args:
      plan: of the parameters.
      factor_of: what a parameter's update is divided by.
    """

    def init(params: Any) -> Any:
        check_tree(plan, params)
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params

        def scale(name: str, u: jax.Array) -> jax.Array:
            factor = factor_of(find(plan, name))
            return u if factor == 1 else u / factor

        return map_updates(scale, updates), state

    return optax.GradientTransformation(init, update)
