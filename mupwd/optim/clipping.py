"""Clipping by the global norm, with a threshold that means the same in both forms of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import optax

from mupwd.optim.checks import check_tree, find, map_updates, promoting_as_optax
from mupwd.plan import check_is_plan
from mupwd.scalars import check_number

if TYPE_CHECKING:
    from jax.typing import ArrayLike

    from mupwd.plan import Plan


def clip_by_global_norm(max_norm: ArrayLike, plan: Plan) -> optax.GradientTransformation:
    r"""`optax.clip_by_global_norm` whose norm does not depend on the form of the plan.

    $$g_i \leftarrow g_i \cdot \min\left(1, \frac{c}{G}\right), \qquad
      G = \sqrt{\textstyle\sum_i \lVert g_i / m_i \rVert^2}$$

    with $m_i$ the plan's `gradient` factor: the ratio that the folded form moved from the forward pass
    into the parameter (1 for all others). The gradient of such a parameter is $m_i$ times that of the
    forward form, which would make the threshold a function of width. Only the norm is taken of the
    divided gradients: all of them are scaled by the one factor that the forward form would use, and a
    folded gradient stays $m_i$ times larger, as the plan's eps for it expects. So both forms give the
    same losses.

    Args:
      max_norm: $c$, the largest global norm that passes unchanged, in units of the forward form's gradient.
      plan: the plan that the optimizer after it was given.

    Returns:
      A transform with the (empty) state of `optax.clip_by_global_norm`; the same transform, bit for bit,
      where nothing is folded.

    Raises:
      TypeError: `plan` is no plan, or `max_norm` no number.
      ValueError: `max_norm` is 0, negative, NaN or infinite.
      PlanError: (from `init`) the parameters do not fit the plan.

    Example:
      >>> import jax.numpy as jnp, mupwd
      >>> shapes = lambda d: {"readout": jnp.zeros((d, 2))}
      >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"readout": "output: in out"})
      >>> plan = family.plan(shapes(32))
      >>> gradients = {"readout": jnp.zeros((32, 2)).at[0, 0].set(8.0)}
      >>> updates, _ = mupwd.clip_by_global_norm(1.0, plan).update(gradients, ())
      >>> print(updates["readout"][0, 0])  # its norm counts as 8 / 4
      4.0

    References:
      Pascanu et al., "On the difficulty of training Recurrent Neural Networks", arXiv 1211.5063.
    """
    check_is_plan(plan)
    check_number("max_norm", max_norm, zero=False)

    def init(params: Any) -> Any:
        check_tree(plan, params)
        return optax.EmptyState()

    @promoting_as_optax
    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params

        def unfold(name: str, g: jax.Array) -> jax.Array:
            factor = find(plan, name).gradient
            return g if factor == 1 else g / factor

        norm = optax.tree.norm(map_updates(unfold, updates))
        small = norm < max_norm

        def clip(name: str, g: jax.Array) -> jax.Array:
            del name
            return jax.lax.select(small, g, (g / norm.astype(g.dtype)) * max_norm)

        return map_updates(clip, updates), state

    return optax.GradientTransformation(init, update)
