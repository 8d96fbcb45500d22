"""Singular values of all matrices of a model, once."""

from __future__ import annotations

from functools import partial
from numbers import Integral
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from mupwd.diagnostics.krylov import columns, estimate, rounding_error
from mupwd.diagnostics.matrices import Group, Layout, groups_of
from mupwd.diagnostics.observation import Observation, observation
from mupwd.diagnostics.products import Products
from mupwd.diagnostics.sharding import replicating
from mupwd.diagnostics.thin import one_by_one
from mupwd.family.models import parameters_of
from mupwd.paths import named_leaves
from mupwd.plan import Plan, check_is_plan
from mupwd.scalars import is_number

Found = TypeVar("Found")

MAX_PASSES = 120  # of a cold start
SEED = 0
_EXACT = 512  # up to this size of the shorter side a full decomposition costs less


def spectrum(params: Any, plan: Plan, k: int = 8, tol: float = 1e-3) -> dict[str, Observation]:
    r"""The k largest singular values of every matrix of a model, with their errors.

    Which axes are fan-in, fan-out or copies comes from the plan: scanned layers, experts and fused projections
    are taken apart, a (d, heads, head_dim) kernel is one matrix of d by heads·head_dim, an embedding is a matrix
    of vocabulary by width. Where the shorter side is at most 512 the values are exact; else block Krylov
    iteration refines them until its estimate of the error,
    $3 r^2 / (2 \sigma (\sigma - \sigma_b))$ with the residual $r = \|W^T u - \sigma v\|$, is at most `tol`.

    Args:
      params: the model, its parameters or any part of them: a tree of arrays with the plan's paths. They may be
        sharded; no matrix that is iterated on is gathered.
      plan: of this model.
      k: how many singular values.
      tol: relative error.

    Returns:
      `{path: Observation}` for all parameters that are matrices; without biases, gains and position tables.

    Raises:
      PlanError: the parameters do not fit the plan; a fused axis of which only an override is known, without
        the number of its copies; a matrix of complex numbers.
      ValueError: `k` or `tol` is out of range.
      TypeError: `plan` is no plan.

    Example:
      >>> import jax, mupwd
      >>> shapes = lambda d: {"up": jax.random.normal(jax.random.key(0), (d, 4 * d))}
      >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"})
      >>> params = shapes(256)
      >>> found = mupwd.spectrum(params, family.plan(params))["up"]
      >>> f"{found.sigma[0]:.1f}; a random matrix of this size has about {256**0.5 + 1024**0.5:.1f}"
      '48.3; a random matrix of this size has about 48.0'

    Source: Musco and Musco, "Randomized Block Krylov Methods", arXiv 1504.05477 (the iteration); the normalised
    operator norm is that of Yang et al., "A Spectral Condition for Feature Learning", arXiv 2310.17813.
    """
    check_is_plan(plan)
    check_arguments(k, tol)
    tree = parameters_of(params, plan)
    leaves = named_leaves(tree)
    found: dict[str, Observation] = {}
    for group in groups_of(plan, tree):
        one = _exact if group.layout.size(group.layout.short) <= _EXACT else _iterated
        for path in group.paths:
            result = one(leaves[path], layout=group.layout, k=k, tol=tol)
            found |= by_path(Group((path,), group.layout), result)
    return {path: found[path] for path in leaves if path in found}


def check_arguments(k: int, tol: float) -> None:
    """Refuses numbers that cannot be meant."""
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise ValueError(f"k must be a positive integer, the number of singular values; got {k!r}")
    if not (is_number(tol) and 1e-5 <= tol < 1):
        raise ValueError(
            f"tol must be between 1e-5 (what float32 products can promise) and 1, got {tol!r}; it is relative"
        )


def by_path(group: Group, found: Found) -> dict[str, Found]:
    """Cuts what was found of a group's matrices, arrays `[n, ...]`, into one for each of its parameters."""
    count = group.layout.count

    def part(index: int) -> Found:
        chosen = slice(index * count, (index + 1) * count)
        stacked = jax.tree.map(lambda leaf: leaf[chosen], found)
        return stacked if group.layout.copies else jax.tree.map(lambda leaf: leaf[0], stacked)

    return {path: part(index) for index, path in enumerate(group.paths)}


@partial(jax.jit, static_argnames=("layout", "k", "tol"))
def _exact(array: jax.Array, *, layout: Layout, k: int, tol: float) -> Observation:
    def values(array: jax.Array) -> Observation:
        axes = (*layout.copies, *layout.fan_in, *layout.fan_out)
        fan_in = layout.size(layout.fan_in)
        matrices = array.reshape(layout.sizes).transpose(axes).reshape(layout.count, fan_in, -1)
        matrices = matrices.astype(jnp.float32)
        largest = jnp.max(jnp.abs(matrices), axis=(1, 2))
        usable = jnp.isfinite(largest)
        scale = jnp.where(usable & (largest > 0), largest, 1.0)
        safe = jnp.where(usable[:, None, None], matrices / scale[:, None, None], 0.0)
        sigma = one_by_one(partial(jnp.linalg.svd, compute_uv=False), safe) * scale[:, None]
        sigma = jnp.where(usable[:, None], sigma, jnp.nan)
        fro = scale * jnp.sqrt(jnp.sum((sigma / scale[:, None]) ** 2, axis=1))
        err = rounding_error(sigma, k, tol)
        passes = jnp.zeros(layout.count, jnp.int32)
        return observation(sigma, err, passes, fro, tol, layout)

    return replicating(values, array)(array)


@partial(jax.jit, static_argnames=("layout", "k", "tol"))
def _iterated(array: jax.Array, *, layout: Layout, k: int, tol: float) -> Observation:
    def values(array: jax.Array) -> Observation:
        products = Products(layout, [array])
        nothing = jnp.zeros((products.count, products.short, columns(products.short, k)), jnp.float32)
        found = estimate(
            products,
            nothing,
            jnp.array(False),
            jax.random.key(SEED),
            k=k,
            tol=tol,
            max_passes=MAX_PASSES,
        ).estimate
        fro = products.norms(safe_scale(found.sigma[:, 0]))
        return observation(found.sigma, found.err, found.passes, fro, tol, layout)

    return replicating(values, array)(array)


def safe_scale(sigma: jax.Array) -> jax.Array:
    """The largest singular values, with 1 where there is none to scale by."""
    return jnp.where(jnp.isfinite(sigma) & (sigma > 0), sigma, 1.0)
