"""The largest singular values of matrices, to a tolerance, with an estimate of their error.

A *round* of `q` blocks from an orthonormal block `X` is: the Krylov space of `X, A^T A X, ...` (q blocks, fully
reorthogonalised), Rayleigh-Ritz in it, and one product more that gives both the residual and the next block. It
reads the matrix `2 q` times. A round of one block is block power iteration, which follows a matrix that moves
slowly; longer rounds find the way from nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mupwd.diagnostics.products import Products
from mupwd.diagnostics.thin import finite, lengths, orthonormal, reseeded, thin_svd, times, unit_columns

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

GUARD = 8  # columns beyond the k that are asked for
_WARM_ROUNDS = 5
_BLOCKS = 4  # of a restart
ROUNDING = 16  # epsilons that a value loses in products and Gram matrices
_EPS = float(jnp.finfo(jnp.float32).eps)


def smallest_share(tol: float) -> float:
    """The share of the largest value below which a value is known to `tol` of that share, not of itself.

    float32 products carry an error of the largest value's size times a few epsilons; 0.4 % for a `tol` of 1e-3.
    """
    return 2 * ROUNDING * _EPS / tol


def rounding_error(sigma: Float[Array, "n b"], k: int, tol: float) -> Float[Array, "n k"]:
    """What float32 costs, relative to each value, or to the smallest share."""
    return ROUNDING * _EPS * sigma[:, :1] / _reference(sigma, k, tol)


def _reference(sigma: Float[Array, "n b"], k: int, tol: float) -> Float[Array, "n k"]:
    """What an error is relative to."""
    reference = jnp.maximum(sigma[:, :k], smallest_share(tol) * sigma[:, :1])
    return jnp.where(reference > 0, reference, 1.0)


class Estimate(NamedTuple):
    """What is known of the matrices of a group after some rounds.

    block: right singular vectors (on the shorter side), the next round's start. sigma: of all b columns.
    err: of the first k, relative. passes: how often each matrix was read.
    """

    block: Float[Array, "n s b"]
    sigma: Float[Array, "n b"]
    err: Float[Array, "n k"]
    passes: Int[Array, " n"]


class Findings(NamedTuple):
    """An estimate, and which matrices of an audit had directions that the block did not hold."""

    estimate: Estimate
    disagreed: Bool[Array, " n"]


def columns(short: int, k: int) -> int:
    """Width of the blocks that follow the k largest singular values of matrices with that shorter side."""
    return min(k + GUARD, short)


def estimate(
    products: Products,
    block: Float[Array, "n s b"],
    audit: Bool[Array, ""],
    key: Array,
    *,
    k: int,
    tol: float,
    max_passes: int,
) -> Findings:
    """Refines a block until the k largest singular values are known to `tol`, or `max_passes` are used.

    Args:
      products: the matrices.
      block: of the last observation; zero where nothing is known, for a cold start.
      audit: start from nothing as well, and compare.
      key: of the random directions that stand in for what is not known.
      k: how many values.
      tol: relative error.
      max_passes: reads per matrix, and again as many in an audit.
    """
    k = min(k, products.short)
    if block.shape[-1] == products.short:
        return _complete(products, k, tol, block)
    known = jnp.max(jnp.abs(block), axis=(1, 2)) > 0
    # What an audit starts from is made here as well: one call, because every call is compiled for every group.
    both = jnp.concatenate([block, jnp.where(audit, jnp.zeros_like(block), block)])
    block, random = jnp.split(reseeded(both, key), 2)
    start = Estimate(
        block,
        jnp.zeros((products.count, block.shape[-1]), jnp.float32),
        jnp.full((products.count, k), jnp.inf, jnp.float32),
        jnp.zeros(products.count, jnp.int32),
    )
    warm = _rounds(products, start, known, 1, tol, min(2 * _WARM_ROUNDS, max_passes))
    # In an audit the matrices that settled start from nothing, in order to be compared.
    compared = audit & ~_unsettled(warm.err, tol)
    again = _where(compared, start._replace(block=random), warm)
    found = _rounds(products, again, jnp.ones_like(known), _BLOCKS, tol, max_passes)
    # Beyond what both estimates of the error allow.
    allowed = 2 * tol * _reference(warm.sigma, k, tol)
    missed = jnp.any(found.sigma[:, :k] > warm.sigma[:, :k] + allowed, axis=1) & compared
    chosen = _where(compared & ~missed, warm, found)
    passes = jnp.where(compared, warm.passes + found.passes, found.passes)
    return Findings(chosen._replace(passes=passes), missed)


def _complete(products: Products, k: int, tol: float, block: Float[Array, "n s b"]) -> Findings:
    """The whole decomposition, where a block holds all directions: nothing to find, and nothing to miss."""
    everything = jnp.broadcast_to(jnp.eye(products.short, dtype=jnp.float32)[None], block.shape)
    image = products.times(everything, jnp.ones(products.count, bool))
    sigma = jnp.where(finite(image)[:, None], thin_svd(_finite_or_zero(image)).sigma, jnp.nan)
    passes = jnp.ones(products.count, jnp.int32)
    err = jnp.where(jnp.isnan(sigma[:, :k]), jnp.nan, rounding_error(sigma, k, tol))
    return Findings(Estimate(block, sigma, err, passes), jnp.zeros(products.count, bool))


def _where(chosen: Bool[Array, " n"], these: Estimate, others: Estimate) -> Estimate:
    return jax.tree.map(lambda a, b: jnp.where(chosen.reshape(-1, *(1,) * (a.ndim - 1)), a, b), these, others)


def _unsettled(err: Float[Array, "n k"], tol: float) -> Bool[Array, " n"]:
    # NaN stays as it is: more rounds do not mend it.
    return jnp.any(err > tol, axis=1)


def _rounds(
    products: Products,
    start: Estimate,
    allowed: Bool[Array, " n"],
    blocks: int,
    tol: float,
    max_passes: int,
) -> Estimate:
    blocks = min(blocks, max(1, products.short // start.block.shape[-1]))

    def active(state: Estimate) -> Bool[Array, " n"]:
        return allowed & _unsettled(state.err, tol) & (state.passes + 2 * blocks <= max_passes)

    def body(state: Estimate) -> Estimate:
        go = active(state)
        return _where(go, _round(products, state, go, blocks, tol), state)

    return lax.while_loop(lambda state: jnp.any(active(state)), body, start)


def _round(
    products: Products, state: Estimate, active: Bool[Array, " n"], blocks: int, tol: float
) -> Estimate:
    k, b = state.err.shape[1], state.block.shape[-1]
    # Zero where there is nothing to do: decompositions of zero are free.
    image = jnp.where(active[:, None, None], products.times(state.block, active), 0.0)
    space, images = state.block, image
    if blocks > 1:
        space, images = _krylov_space(products, state.block, image, active, blocks)
    usable = finite(images)
    ritz = thin_svd(_finite_or_zero(images))
    vectors, sigma = times(space, ritz.right[:, :, :b]), ritz.sigma[:, :b]
    back = products.transposed_times(ritz.left[:, :, :b], active)
    usable &= finite(back)
    back = _finite_or_zero(back)
    residual = lengths(back - vectors * sigma[:, None])
    improved = thin_svd(back)
    # What a Krylov space holds beyond the block is not outside of it, even if it has not settled.
    outside = ritz.sigma[:, min(2 * b, ritz.sigma.shape[1]) - 1, None]
    err = _error(residual, sigma, outside, improved.sigma, k, tol, power=blocks == 1)
    # A matrix that is not finite has no spectrum, and must not spoil what is known of it.
    nan = jnp.float32(jnp.nan)
    return Estimate(
        jnp.where(usable[:, None, None], improved.left, state.block),
        jnp.where(usable[:, None], improved.sigma, nan),
        jnp.where(usable[:, None], err, nan),
        state.passes + 2 * blocks,
    )


def _krylov_space(
    products: Products,
    block: Float[Array, "n s b"],
    image: Float[Array, "n l b"],
    active: Bool[Array, " n"],
    blocks: int,
) -> tuple[Float[Array, "n s c"], Float[Array, "n l c"]]:
    """An orthonormal basis of `X, A^T A X, ...` and its image under A."""
    b = block.shape[-1]
    pad = lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, (blocks - 1) * b)))  # noqa: E731

    def extend(index: Any, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        space, images, image = carry
        following = products.transposed_times(unit_columns(_finite_or_zero(image)), active)
        following = orthonormal(_finite_or_zero(following), space)
        image = products.times(following, active)
        put = lambda whole, part: lax.dynamic_update_slice_in_dim(whole, part, index * b, axis=2)  # noqa: E731
        return put(space, following), put(images, image), image

    space, images, _ = lax.fori_loop(1, blocks, extend, (pad(block), pad(image), image))
    return space, images


def _error(
    residual: Float[Array, "n b"],
    ritz: Float[Array, "n b"],
    outside: Float[Array, "n 1"],
    sigma: Float[Array, "n b"],
    k: int,
    tol: float,
    *,
    power: bool,
) -> Float[Array, "n k"]:
    """`3 r^2 / (2 sigma (sigma - sigma_b))`, relative: the Kato-Temple bound with what the block does not hold.

    That is of the Ritz value. In a round of power iteration the product that gave the residual also takes away all
    but `sigma_b^2 / (sigma (sigma + sigma_b))` of its error. Where values lie too close for the bound, the residual
    itself is one (Weyl).
    """
    reference = _reference(sigma, k, tol)
    gap = jnp.maximum((ritz[:, :k] - outside) / reference, _EPS)
    share = residual[:, :k] / reference
    ratio = outside / jnp.where(ritz[:, :k] > 0, ritz[:, :k], 1.0)
    left = jnp.minimum(ratio**2 / (1 + ratio), 0.5) if power else 1.0
    return jnp.minimum(1.5 * left * share**2 / gap, share) + rounding_error(sigma, k, tol)


def _finite_or_zero(block: Array) -> Array:
    return jnp.where(jnp.isfinite(block), block, 0.0)
