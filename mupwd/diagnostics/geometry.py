"""How a step moves each matrix, next to the size of the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
from jax import lax

from mupwd.diagnostics.matrices import Layout

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class Geometry(NamedTuple):
    """The update of one parameter's matrices in one step; fields have an axis of copies where it is a stack.

    Attributes:
      weight_rms: root mean square of the weights, before the step.
      update_rms: root mean square of the step, decay included.
      effective_learning_rate: their ratio, the relative size of a step.
      angle: between the weights before and after the step, in radians.
      decay_timescale: in steps: `1 / (lr * wd)` of this parameter, its plan's factors and the schedule included;
        infinite without decay, NaN where the tracker was not told learning rate and decay.
    """

    weight_rms: Float[Array, "*copies"]
    update_rms: Float[Array, "*copies"]
    effective_learning_rate: Float[Array, "*copies"]
    angle: Float[Array, "*copies"]
    decay_timescale: Float[Array, "*copies"]


def geometry(layout: Layout, weights: Array, updates: Array, decay_per_step: Array) -> Geometry:
    """Returns the geometry of one parameter's step, an entry per matrix.

    Args:
      layout: how the parameter is read as matrices.
      weights: before the step.
      updates: what the step adds.
      decay_per_step: `lr * wd` of this parameter.
    """
    axes = tuple(axis for axis in range(len(layout.sizes)) if axis not in layout.copies)
    w = weights.reshape(layout.sizes).astype(jnp.float32)
    u = updates.reshape(layout.sizes).astype(jnp.float32)
    size_w, size_u = (jnp.max(jnp.abs(x), axis=axes, keepdims=True) for x in (w, u))
    scale_w, scale_u = (jnp.where(size > 0, size, 1.0) for size in (size_w, size_u))
    # Behind a barrier the scaled arrays of the mixed term are other ones than those of the squares: shared, they
    # would be written to memory instead of being summed on the way.
    again_w, again_u = lax.optimization_barrier((scale_w, scale_u))
    terms = ((w / scale_w) ** 2, (u / scale_u) ** 2, (w / again_w) * (u / again_u))
    mean_w, mean_u, mean_both = (jnp.mean(x, axis=axes).reshape(-1) for x in terms)
    scale_w, scale_u = scale_w.reshape(-1), scale_u.reshape(-1)
    weight_rms, update_rms = scale_w * jnp.sqrt(mean_w), scale_u * jnp.sqrt(mean_u)
    # The step in units of the weights, cut into what lies along them and what turns them. Both from sums over
    # the matrices: the difference of two nearly equal directions would be lost in rounding.
    ratio = update_rms / weight_rms
    cosine = mean_both / jnp.sqrt(mean_w * mean_u)
    along = 1 + ratio * cosine
    across = ratio * jnp.sqrt(jnp.maximum(1 - cosine**2, 0.0))
    return Geometry(
        weight_rms=weight_rms,
        update_rms=update_rms,
        effective_learning_rate=ratio,
        angle=jnp.where(update_rms > 0, jnp.arctan2(across, along), 0.0),
        decay_timescale=jnp.broadcast_to(1 / decay_per_step, weight_rms.shape),
    )
