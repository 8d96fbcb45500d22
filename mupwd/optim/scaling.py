"""The two terms of a decoupled-decay step, each with the plan's own factor per parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

from mupwd.optim.checks import check_tree, covering, find, is_zero, map_updates, promoting_as_optax, times
from mupwd.paths import named_leaves
from mupwd.plan import check_is_plan
from mupwd.scalars import check_rate, check_scalar

if TYPE_CHECKING:
    from mupwd.plan import ParameterPlan, Plan

Mask = Any | Callable[[Any], Any]
_MASK = "each parameter, or a part of the tree that holds it, True (decay) or False"


def scale_by_plan_learning_rate(
    learning_rate: optax.ScalarOrSchedule, plan: Plan, *, flip_sign: bool = True
) -> optax.GradientTransformation:
    r"""`optax.scale_by_learning_rate` with the plan's learning rate for each parameter.

    $$u_i \leftarrow -\alpha_t \, f^{lr}_i \, u_i$$

    It comes last in a chain, after `add_plan_decayed_weights`, so that the decay of a step is
    $\alpha_t f^{lr}_i \cdot \lambda_t f^{wd}_i \cdot w_i$.

    Args:
      learning_rate: the base's learning rate, as it was tuned: a number, a scalar array, or a schedule from
        the step count to one.
      plan: multipliers per parameter.
      flip_sign: multiply by the negative learning rate, for descent.

    Returns:
      A transform with the state of `optax.scale_by_learning_rate`.

    Raises:
      TypeError: `plan` is no plan, or the learning rate no number, array or schedule.
      ValueError: the learning rate is negative, NaN or infinite.
      PlanError: (from `init`) the parameters do not fit the plan.

    Example:
      >>> import jax, jax.numpy as jnp, mupwd
      >>> shapes = lambda d: {"kernel": jnp.ones((d, d))}
      >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"kernel": "in out"})
      >>> params = shapes(32)
      >>> plan = family.plan(params)
      >>> tx = mupwd.scale_by_plan_learning_rate(1e-2, plan)
      >>> updates, _ = tx.update(params, tx.init(params))
      >>> print(f"{updates['kernel'][0, 0]:.4f}")  # times 1/4 at m = 4
      -0.0025
    """
    check_is_plan(plan)
    check_rate("learning_rate", learning_rate)
    sign = -1 if flip_sign else 1

    def init(params: Any) -> Any:
        check_tree(plan, params)
        return optax.scale_by_learning_rate(learning_rate).init(params)

    @promoting_as_optax
    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        rate, state = _now("learning_rate", learning_rate, state)

        def scale(name: str, u: jax.Array) -> jax.Array:
            step = times(sign * rate, find(plan, name).lr)
            # As optax does: a schedule's float32 step must not promote bfloat16 updates.
            return (jnp.asarray(step, dtype=u.dtype) if callable(learning_rate) else step) * u

        return map_updates(scale, updates), state

    return optax.GradientTransformation(init, update)


def add_plan_decayed_weights(
    weight_decay: optax.ScalarOrSchedule, plan: Plan, mask: Mask | None = None, *, per_step: bool = False
) -> optax.GradientTransformation:
    r"""`optax.add_decayed_weights` with the plan's weight decay for each parameter.

    $$u_i \leftarrow u_i + \lambda_t \, f^{wd}_i \, w_i$$

    Where $f^{wd}_i = 0$ the term is absent rather than multiplied by 0, so that a weight that overflowed does
    not become NaN by its decay.

    Args:
      weight_decay: the base's decay *per unit of learning rate* (coupled, the convention of optax and
        PyTorch): a number, a scalar array, or a schedule from the step count to one.
      plan: multipliers per parameter; where `wd` is 0, a parameter does not decay.
      mask: as in optax, a tree of booleans (or a prefix of the parameters' tree), or a function from the
        parameters to one. A parameter decays where both the mask and the plan let it. It is matched by name.
      per_step: the decay is not multiplied by a learning rate after this link, so that the plan's factor on the
        learning rate belongs to it as well: $f^{lr}_i f^{wd}_i$.

    Returns:
      A transform with the state of `optax.add_decayed_weights` without a mask.

    Raises:
      TypeError: `plan` is no plan, or the decay no number, array or schedule.
      ValueError: the decay is negative, NaN or infinite; the mask names something that is not in the plan, or
        leaves a parameter out; (from `update`) the parameters are missing.
      PlanError: (from `init`) the parameters do not fit the plan.

    Example:
      >>> import jax, jax.numpy as jnp, mupwd
      >>> shapes = lambda d: {"kernel": jnp.ones((d, d))}
      >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"kernel": "in out"})
      >>> params = shapes(32)
      >>> plan = family.plan(params)
      >>> tx = mupwd.add_plan_decayed_weights(0.1, plan)
      >>> updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
      >>> print(f"{updates['kernel'][0, 0]:.1f}")  # times 2 at m = 4
      0.2
    """

    def factor(one: ParameterPlan) -> float:
        return one.wd * one.lr if per_step else one.wd

    return add_decayed_weights_by(weight_decay, plan, mask, factor)


def add_decayed_weights_by(
    weight_decay: optax.ScalarOrSchedule,
    plan: Plan,
    mask: Mask | None,
    factor_of: Callable[[ParameterPlan], float],
    *,
    inside: Mask | None = None,
    outside: Callable[[ParameterPlan], float] | None = None,
) -> optax.GradientTransformation:
    """`add_plan_decayed_weights` with another factor for each parameter than the plan's.

    Args:
      weight_decay: the base's decay.
      plan: of the parameters.
      mask: as for `add_plan_decayed_weights`.
      factor_of: what multiplies a parameter's decay; 0 for no decay.
      inside: a mask, LARS's `trust_ratio_mask`: where it is False, `outside` is taken in the place of `factor_of`.
      outside: the factor there.

    Returns:
      A transform with the state of `optax.add_decayed_weights` without a mask.

    Raises:
      TypeError, ValueError: as for `add_plan_decayed_weights`.
      PlanError: (from `init`) the parameters do not fit the plan.
    """
    check_is_plan(plan)
    check_rate("weight_decay", weight_decay)
    mask_of = _masker("mask", mask, plan)
    inside_of = _masker("trust_ratio_mask", inside, plan)

    def init(params: Any) -> Any:
        check_tree(plan, params)
        masked = mask_of(params)
        within = inside_of(params)
        for name in named_leaves(params):
            covering(masked, name, "mask", _MASK)
            covering(within, name, "trust_ratio_mask", _MASK)
        return optax.add_decayed_weights(weight_decay).init(params)

    @promoting_as_optax
    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError(
                "weight decay needs the parameters: call tx.update(gradients, state, params) with all three"
            )
        if is_zero(weight_decay):
            return updates, state
        decay, state = _now("weight_decay", weight_decay, state)
        masked = mask_of(params)
        within = inside_of(params)

        def add(name: str, u: jax.Array, w: jax.Array) -> jax.Array:
            use = (
                factor_of if outside is None or covering(within, name, "trust_ratio_mask", _MASK) else outside
            )
            factor = use(find(plan, name))
            if factor == 0 or not covering(masked, name, "mask", _MASK):
                return u
            return u + times(decay, factor) * w

        return map_updates(add, updates, params), state

    return optax.GradientTransformation(init, update)


def _now(name: str, value: optax.ScalarOrSchedule, state: Any) -> tuple[Any, Any]:
    """The value at this step, and the state of the next one."""
    if callable(value):
        if "count" not in getattr(state, "_fields", ()):  # a tuple's own `count` is a method
            raise ValueError(
                f"{name} is a schedule, but the state has no count of steps: it was made by an optimizer whose {name} "
                "is a number; make it with init of the optimizer that it is given to"
            )
        now = value(state.count)
        check_scalar(f"what the schedule {name} returns", now)
        return now, state._replace(count=optax.safe_increment(state.count))
    return value, state


def _masker(argument: str, mask: Mask | None, plan: Plan) -> Callable[[Any], dict[str, bool]]:
    """A function from the parameters to the mask by name."""
    if mask is None:
        return lambda params: {"": True}
    # A tree of booleans can be callable itself, as an equinox module is; optax looks at the leaves as well.
    leaves = jax.tree.leaves(mask)
    if leaves and all(callable(leaf) for leaf in leaves):
        return lambda params: _mask_by_name(argument, mask(params), plan)
    by_name = _mask_by_name(argument, mask, plan)
    return lambda params: by_name


def _mask_by_name(argument: str, mask: Any, plan: Plan) -> dict[str, bool]:
    by_name = {name: bool(leaf) for name, leaf in named_leaves(mask).items()}
    for name in by_name:
        if name and not any(path == name or path.startswith(name + "/") for path in plan):
            raise ValueError(
                f"{argument}: {name!r} is no parameter of the plan, nor a part of the tree that holds any; "
                f"the plan's parameters begin with {', '.join(map(repr, list(plan)[:3]))}"
            )
    return by_name
