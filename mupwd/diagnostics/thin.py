"""Linear algebra of thin blocks: many rows, few columns, batched, in float32.

Everything goes through Gram matrices, so that what crosses devices is a few columns squared. Null directions are
dropped, where a Cholesky factor would be NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

# Below this share of a block's largest direction, the eigenvalues of its Gram matrix are lost in rounding errors.
_CUT = 2e-3
_NOISE = 1e-5  # a part of a unit vector that is no more than rounding errors


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


def unit_columns(block: Float[Array, "n r b"]) -> Float[Array, "n r b"]:
    """The block with columns of length 1; zero columns stay."""
    size = lengths(block)
    return block / jnp.where(size > 0, size, 1.0)[:, None]


def basis_of(block: Float[Array, "n r b"]) -> Float[Array, "n r b"]:
    """Orthonormal columns that span the block, but for directions below `_CUT` of its largest one.

    Those come first, as zero columns.
    """
    largest = jnp.max(jnp.abs(block), axis=(1, 2))
    block = block / jnp.where(largest > 0, largest, 1.0)[:, None, None]
    values, vectors = jnp.linalg.eigh(transposed_times(block, block), symmetrize_input=True)
    kept = (values > _CUT**2 * values[:, -1:]) & (values > 0)
    scale = jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, values, 1.0)), 0.0)
    basis = times(block, vectors * scale[:, None])
    # A small direction is orthogonal to a large one only up to their ratio, squared, in rounding errors.
    for _ in range(2):
        basis = 1.5 * basis - 0.5 * times(basis, transposed_times(basis, basis))
    return basis


def thin_svd(block: Float[Array, "n r b"]) -> ThinSVD:
    """Singular value decomposition of a thin block; columns of `left` of null directions are zero."""
    basis = basis_of(block)
    # Null columns come first. What they left out may still be far above rounding errors: a second basis, of the
    # rest, stands in for them, turned round because its own null columns come first as well.
    null = jnp.sum(basis * basis, axis=1) < 0.5

    def completed() -> Array:
        return jnp.where(null[:, None], orthonormal(block, basis)[:, :, ::-1], basis)

    basis = lax.cond(jnp.any(null), completed, lambda: basis)
    largest = jnp.max(jnp.abs(block), axis=(1, 2))
    scale = jnp.where(largest > 0, largest, 1.0)
    small = transposed_times(basis, block / scale[:, None, None])
    inner, sigma, right = jnp.linalg.svd(small)
    return ThinSVD(times(basis, inner), sigma * scale[:, None], right.swapaxes(1, 2))


def orthonormal(block: Float[Array, "n r b"], against: Float[Array, "n r c"]) -> Array:
    """An orthonormal basis of what a block adds to an orthonormal one (whose columns may be zero).

    Null directions come first, as zero columns. Twice: once leaves an error of epsilon times the condition number.
    """

    def once(_: Any, block: Array) -> Array:
        block = unit_columns(block)
        rest = block - times(against, transposed_times(against, block))
        # What is left of a column that adds nothing is rounding errors, which no second pass makes orthogonal.
        return basis_of(jnp.where(lengths(rest)[:, None] > _NOISE, rest, 0.0))

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
