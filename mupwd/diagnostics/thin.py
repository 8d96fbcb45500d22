"""Linear algebra of thin blocks: many rows, few columns, batched, in float32.

Everything goes through Gram matrices, so that what crosses devices is a few columns squared. Null directions are
dropped, where a Cholesky factor would be NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

# Below this share of a block's largest direction, the eigenvalues of its Gram matrix are lost in rounding errors.
_CUT = 2e-3
_NOISE = 2e-6  # a share of a block's largest column that is no more than rounding errors


def one_by_one(decompose: Callable[[Array], Any], matrices: Float[Array, "n b b"]) -> Any:
    """A decomposition of each matrix, on CPU one after the other; that of zero may be all zeros.

    jaxlib deals a batch of LAPACK calls to its pool of threads and waits inside of the pool: two batches at a time
    can wait for each other for ever (seen with jaxlib 0.10.2, on two cores). And so a matrix with which there is
    nothing to do costs nothing, where its place in the batch is zero.
    """
    if len(matrices) == 1:
        return jax.tree.map(lambda x: x[None], decompose(matrices[0]))
    nothing = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(decompose, jax.typeof(matrices[0]))
    )

    def decomposed(matrix: Array) -> Any:
        return lax.cond(jnp.any(matrix != 0), decompose, lambda _: nothing, matrix)

    return lax.platform_dependent(
        matrices, cpu=lambda batch: lax.map(decomposed, batch), default=jax.vmap(decompose)
    )


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


def _largest_directions(block: Float[Array, "n r b"]) -> Float[Array, "n r b"]:
    """Orthonormal columns for the directions above `_CUT` of a block's largest; zero columns come first."""
    largest = jnp.max(jnp.abs(block), axis=(1, 2))
    block = block / jnp.where(largest > 0, largest, 1.0)[:, None, None]
    values, vectors = one_by_one(jnp.linalg.eigh, transposed_times(block, block))
    kept = (values > _CUT**2 * values[:, -1:]) & (values > 0)
    scale = jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, values, 1.0)), 0.0)
    basis = times(block, vectors * scale[:, None])

    # A small direction is orthogonal to a large one only up to their ratio, squared, in rounding errors.
    def polished(_: Any, basis: Array) -> Array:
        return 1.5 * basis - 0.5 * times(basis, transposed_times(basis, basis))

    # Loops, here and below, not copies of the code: it is compiled several times for each group of matrices.
    return lax.fori_loop(0, 2, polished, basis)


def orthonormal(block: Float[Array, "n r b"], against: Float[Array, "n r c"] | None = None) -> Array:
    """An orthonormal basis of what a block's columns add to an orthonormal block; the rest are zero columns.

    First its large directions, then those that they left out, down to rounding errors. Zero columns come first
    where there is nothing to do in the second part.
    """
    largest = jnp.max(lengths(block), axis=1)
    noise, something = _NOISE * largest, (largest > 0)[:, None]

    def unfinished(state: tuple[Array, Array]) -> Array:
        stage, basis = state
        return (stage < 2) & jnp.any(_null(basis) & something)

    def stage_of(state: tuple[Array, Array]) -> tuple[Array, Array]:
        stage, basis = state

        def without_known() -> Array:
            rest = block
            for _ in range(
                2
            ):  # once leaves what rounding errors of the large columns put into the small ones
                for known in (basis,) if against is None else (against, basis):
                    rest = rest - times(known, transposed_times(known, rest))
            return rest

        nothing_known = (stage == 0) & (against is None)
        rest = lax.cond(nothing_known, lambda: block, without_known)
        rest = jnp.where((lengths(rest) > noise[:, None])[:, None], rest, 0.0)
        # Turned round, because its own zero columns come first, where the basis has room.
        fresh = _largest_directions(rest)
        fresh = jnp.where(stage == 0, fresh, fresh[:, :, ::-1])
        return stage + 1, jnp.where(_null(basis)[:, None], fresh, basis)

    _, basis = lax.while_loop(unfinished, stage_of, (jnp.int32(0), jnp.zeros_like(block)))
    return basis


def _null(basis: Float[Array, "n r b"]) -> Bool[Array, "n b"]:
    return jnp.sum(basis * basis, axis=1) < 0.5


def thin_svd(block: Float[Array, "n r b"]) -> ThinSVD:
    """Singular value decomposition of a thin block; columns of `left` of null directions are zero."""
    largest = jnp.max(jnp.abs(block), axis=(1, 2))
    scale = jnp.where(largest > 0, largest, 1.0)
    block = block / scale[:, None, None]
    basis = orthonormal(block)
    inner, sigma, right = one_by_one(jnp.linalg.svd, transposed_times(basis, block))
    return ThinSVD(times(basis, inner), sigma * scale[:, None], right.swapaxes(1, 2))


def reseeded(block: Float[Array, "n r b"], key: Array) -> Float[Array, "n r b"]:
    """The block with random directions in the place of its zero columns, which must be its last ones."""
    dead = _null(block)

    def seed() -> Array:
        fresh = jnp.where(dead[:, None], jax.random.normal(key, block.shape, jnp.float32), 0.0)
        # Null directions come first out of a Gram matrix, and so the new columns last: where the dead ones are.
        return jnp.where(dead[:, None], orthonormal(fresh, block), block)

    return lax.cond(jnp.any(dead), seed, lambda: block)


def finite(block: Float[Array, "n r b"]) -> Bool[Array, " n"]:
    """Whether all of a matrix's block is finite."""
    return jnp.all(jnp.isfinite(block), axis=(1, 2))
