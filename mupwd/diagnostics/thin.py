"""Linear algebra of thin blocks: many rows, few columns, batched, in float32.

Everything goes through a Gram matrix of columns that were brought to length 1 first. So what crosses devices is
a few columns squared, graded blocks (columns of very different lengths) keep their relative accuracy, and null
directions are dropped, where a Cholesky factor would be NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

_EPS = float(jnp.finfo(jnp.float32).eps)


class ThinSVD(NamedTuple):
    """`T = U diag(sigma) R^T`: orthonormal columns `left[n, r, b]` (zero where dropped), `sigma[n, b]` falling,
    a rotation `right[n, b, b]`."""

    left: Float[Array, "n r b"]
    sigma: Float[Array, "n b"]
    right: Float[Array, "n b b"]


def times(a: Array, b: Array) -> Array:
    """Batched product in full float32: the default of TPUs and of TF32 is coarser than the tolerance."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def transposed_times(a: Array, b: Array) -> Array:
    """`a^T b`, batched, in full float32."""
    return jnp.einsum("nri,nrj->nij", a, b, precision=lax.Precision.HIGHEST)


def lengths(block: Float[Array, "n r b"]) -> Float[Array, "n b"]:
    """Norms of the columns, safe from overflow and underflow."""
    largest = jnp.max(jnp.abs(block), axis=1)
    scale = jnp.where(largest > 0, largest, 1.0)
    return scale * jnp.sqrt(jnp.sum((block / scale[:, None]) ** 2, axis=1))


def whitened(block: Float[Array, "n r b"]) -> tuple[Float[Array, "n r b"], Float[Array, "n b b"]]:
    """Factors `block = basis @ factor` with orthonormal columns; columns of null directions are zero."""
    size = lengths(block)
    unit = jnp.where(size[:, None] > 0, block / jnp.where(size > 0, size, 1.0)[:, None], 0.0)
    values, vectors = jnp.linalg.eigh(transposed_times(unit, unit), symmetrize_input=True)
    kept = values > 10 * block.shape[-1] * _EPS
    root = jnp.sqrt(jnp.where(kept, values, 1.0))
    basis = times(unit, vectors) * jnp.where(kept, 1 / root, 0.0)[:, None]
    factor = jnp.where(kept, root, 0.0)[:, :, None] * vectors.swapaxes(1, 2) * size[:, None]
    return basis, factor


def thin_svd(block: Float[Array, "n r b"]) -> ThinSVD:
    """Singular value decomposition of a thin block; columns of `left` of null directions are zero."""
    basis, factor = whitened(block)
    # The factor carries the scale of the block; its own decomposition must not overflow.
    largest = jnp.max(jnp.abs(factor), axis=(1, 2))
    scale = jnp.where(largest > 0, largest, 1.0)
    inner, sigma, right = jnp.linalg.svd(factor / scale[:, None, None])
    return ThinSVD(times(basis, inner), sigma * scale[:, None], right.swapaxes(1, 2))


def orthonormal(block: Float[Array, "n r b"], against: Float[Array, "n r c"]) -> Array:
    """An orthonormal basis of what a block adds to an orthonormal one (whose columns may be zero).

    Null directions come first, as zero columns. Twice: once leaves an error of epsilon times the condition number.
    """

    def once(_: Any, block: Array) -> Array:
        return whitened(block - times(against, transposed_times(against, block)))[0]

    # A loop, not two copies of the code: it is compiled once per group of matrices.
    return lax.fori_loop(0, 2, once, block)


def reseeded(block: Float[Array, "n r b"], key: Array) -> Float[Array, "n r b"]:
    """The block with random directions in the place of its zero columns, which must be its last ones."""
    dead = jnp.sum(block * block, axis=1) < 0.5

    def seed() -> Array:
        fresh = jnp.where(dead[:, None], jax.random.normal(key, block.shape, jnp.float32), 0.0)
        # Null directions come first out of a Gram matrix, and so the new columns last: where the dead ones are.
        return jnp.where(dead[:, None], orthonormal(fresh, block), block)

    return lax.cond(jnp.any(dead), seed, lambda: block)


def finite(block: Float[Array, "n r b"]) -> Bool[Array, " n"]:
    """Whether all of a matrix's block is finite."""
    return jnp.all(jnp.isfinite(block), axis=(1, 2))
