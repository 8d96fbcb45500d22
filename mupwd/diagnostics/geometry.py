"""How a step moves each matrix, next to the size of the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
from jax import lax

from mupwd.diagnostics.matrices import Layout

if TYPE_CHECKING:
    from jaxtyping import Array, Float


_SMALL = 1e-12  # the squares of entries of this size keep all that float32 has to say of them


class Geometry(NamedTuple):
    """The update of one parameter's matrices in one step; fields have an axis of copies where it is a stack.

    Attributes:
      weight_rms: root mean square of the weights, before the step.
      update_rms: root mean square of the step, decay included.
      effective_learning_rate: their ratio, the relative size of a step; infinite where weights that are all 0 move.
      angle: between the weights before and after the step, in radians; 0 where nothing moves, or all weights were 0 and
        had no direction.
      decay_timescale: in steps: `1 / (lr * wd)` of this parameter, its plan's factors and the schedule included;
        infinite without decay, None where the tracker was not told learning rate and decay.
    """

    weight_rms: Float[Array, "*copies"]
    update_rms: Float[Array, "*copies"]
    effective_learning_rate: Float[Array, "*copies"]
    angle: Float[Array, "*copies"]
    decay_timescale: Float[Array, "*copies"] | None


def geometry(layout: Layout, weights: Array, updates: Array, decay_per_step: Array | None) -> Geometry:
    """Returns the geometry of one parameter's step, an entry per matrix.

    Args:
      layout: how the parameter is read as matrices.
      weights: before the step.
      updates: what the step adds.
      decay_per_step: `lr * wd` of this parameter; None: not known.
    """
    axes = tuple(axis for axis in range(len(layout.sizes)) if axis not in layout.copies)
    w = weights.reshape(layout.sizes).astype(jnp.float32)
    u = updates.reshape(layout.sizes).astype(jnp.float32)
    plain = _moments(w, u, axes)
    # To read both arrays once is most of what this costs: they are read again only where a square may have
    # vanished or overflowed.
    safe = [(square > _SMALL**2) & (square < 1 / _SMALL**2) for square in plain[:2]]
    weight_rms, update_rms, cosine = lax.cond(
        jnp.all(safe[0] & safe[1]), lambda: _sizes(*plain), lambda: _scaled_sizes(w, u, axes)
    )
    # The step in units of the weights, cut into what lies along them and what turns them. Both from sums over
    # the matrices: the difference of two nearly equal directions would be lost in rounding.
    still, start = update_rms == 0, weight_rms == 0
    ratio = jnp.where(start, jnp.where(still, 0.0, jnp.inf), update_rms / jnp.where(start, 1.0, weight_rms))
    turned = ~(still | start)
    relative = jnp.where(turned, ratio, 0.0)
    along = 1 + relative * cosine
    across = relative * jnp.sqrt(jnp.maximum(1 - cosine**2, 0.0))
    return Geometry(
        weight_rms=weight_rms,
        update_rms=update_rms,
        effective_learning_rate=ratio,
        angle=jnp.where(turned, jnp.arctan2(across, along), 0.0),
        decay_timescale=None
        if decay_per_step is None
        else jnp.broadcast_to(1 / decay_per_step, weight_rms.shape),
    )


def _moments(w: Array, u: Array, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Means of `w^2`, `u^2` and `w u` of each matrix."""
    square_w, square_u, both = (jnp.mean(x, axis=axes).reshape(-1) for x in (w * w, u * u, w * u))
    return square_w, square_u, both


def _sizes(square_w: Array, square_u: Array, both: Array) -> tuple[Array, Array, Array]:
    """Root mean squares, and the cosine between weights and updates; 0 where one of them vanishes."""
    weight_rms, update_rms = jnp.sqrt(square_w), jnp.sqrt(square_u)
    # Of the roots: the product of the squares may vanish where neither does.
    size = weight_rms * update_rms
    return weight_rms, update_rms, both / jnp.where(size > 0, size, 1.0)


def _scaled_sizes(w: Array, u: Array, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """The same from arrays whose largest entries are 1."""
    size_w, size_u = (jnp.max(jnp.abs(x), axis=axes, keepdims=True) for x in (w, u))
    scale_w, scale_u = (jnp.where(size > 0, size, 1.0) for size in (size_w, size_u))
    weight_rms, update_rms, cosine = _sizes(*_moments(w / scale_w, u / scale_u, axes))
    return weight_rms * scale_w.reshape(-1), update_rms * scale_u.reshape(-1), cosine
