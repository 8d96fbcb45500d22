"""Other ways to the largest singular values, each as its users would call it.

A peer whose effort is a number (iterations, depth) and which does not say how exact it is gets the smallest power of
two that reaches the tolerance, found by comparing with the truth: more than its users can know. Where it has a place
for it, a warm peer starts from the exact singular vectors of the matrix before the drift, which is again more than
its users have. The normalising layers take the steps that their users take, and are compared at the error that they
reach. Products with thin blocks are ordered as ours are, which on CPU is up to 25 times faster than `W.T @ x` as
written.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax
from jax.experimental.sparse.linalg import lobpcg_standard
from spectral_matrices import K, Truth, largest_error

_OVERSAMPLES = 10  # scikit-learn's default


class Matrix:
    """A matrix as products from its shorter side and back."""

    def __init__(self, array: jax.Array):
        self.array = array
        self.wide = array.shape[0] < array.shape[1]
        self.short = min(array.shape)

    def times(self, x: jax.Array) -> jax.Array:
        """From the shorter side to the longer."""
        return self._product(x, self.wide)

    def transposed_times(self, x: jax.Array) -> jax.Array:
        """Back."""
        return self._product(x, not self.wide)

    def gram(self, x: Any) -> Any:
        """There and back: the symmetric operator that eigenvalue methods need."""
        return self.transposed_times(self.times(x))

    def _product(self, x: jax.Array, transpose: bool) -> jax.Array:
        return lax.optimization_barrier(x.T @ self.array).T if transpose else self.array @ x


Compute = Callable[[Matrix, jax.Array, jax.Array, Any], jax.Array]


@dataclass(frozen=True)
class Peer:
    """One way.

    Args:
      compute: (matrix, vectors [short, K] to start from, as many on the longer side, effort) -> largest values.
      cold: efforts to choose from, falling back to the last.
      warm: likewise, from vectors that are nearly right; none where it has no use for those.
      values: how many it finds.
      passes: reads of the matrix at some effort; None for a decomposition.
      static: whether the effort must be known when compiling.
    """

    compute: Compute
    cold: tuple[int, ...] = (0,)
    warm: tuple[int, ...] = ()
    values: int = K
    passes: Callable[[int], int] | None = None
    static: bool = True


def _svd(matrix: Matrix, start: jax.Array, other: jax.Array, effort: int) -> jax.Array:
    return jnp.linalg.svd(matrix.array, compute_uv=False)[:K]


def _eigvalsh(matrix: Matrix, start: jax.Array, other: jax.Array, effort: int) -> jax.Array:
    w = matrix.array
    values = jnp.linalg.eigvalsh(w @ w.T if w.shape[0] < w.shape[1] else w.T @ w)
    return jnp.sqrt(values[::-1][:K])


def _optax(matrix: Matrix, start: jax.Array, other: jax.Array, effort: int) -> jax.Array:
    value, _ = optax.power_iteration(matrix.gram, v0=start[:, 0], num_iters=effort, error_tolerance=0.0)
    return jnp.sqrt(value)[None]


def _flax(matrix: Matrix, start: jax.Array, other: jax.Array, effort: int) -> jax.Array:
    rows, columns = matrix.array.shape
    layer = nnx.Linear(rows, columns, use_bias=False, rngs=nnx.Rngs(0))
    layer.kernel[...] = matrix.array
    norm = nnx.SpectralNorm(layer, n_steps=effort, rngs=nnx.Rngs(0))
    right = other if rows < columns else start
    norm.batch_stats["kernel", "u"][...] = right[:, 0][None]
    norm(jnp.zeros((1, rows)), update_stats=True)
    return norm.batch_stats["kernel", "sigma"][...][None]


def _equinox(matrix: Matrix, start: jax.Array, other: jax.Array, effort: int) -> jax.Array:
    import equinox as eqx

    rows, columns = matrix.array.shape
    linear = eqx.nn.Linear(columns, rows, use_bias=False, key=jax.random.key(0))
    linear = eqx.tree_at(lambda layer: layer.weight, linear, matrix.array)
    norm, state = eqx.nn.make_with_state(eqx.nn.SpectralNorm)(
        linear, "weight", num_power_iterations=effort, key=jax.random.key(0)
    )
    left, right = (start, other) if rows < columns else (other, start)
    state = state.set(norm.uv_index, (left[:, 0], right[:, 0]))
    _, state = norm(jnp.zeros(columns), state)
    u, v = state.get(norm.uv_index)
    return (u @ matrix.array @ v)[None]


def _lobpcg(matrix: Matrix, start: jax.Array, other: jax.Array, effort: int) -> jax.Array:
    return jnp.sqrt(lobpcg_standard(matrix.gram, start, m=effort, tol=0.0)[0])


def _matfree(matrix: Matrix, start: jax.Array, other: jax.Array, effort: int) -> jax.Array:
    from matfree import decomp, eig  # pyright: ignore[reportMissingImports]

    depth = min(effort, matrix.short)
    # It takes a single vector: the sum holds all that are known.
    return eig.svd_partial(decomp.bidiag(depth))(matrix.times, jnp.sum(start, axis=1))[1][:K]


def _randomized(matrix: Matrix, start: jax.Array, other: jax.Array, effort: Any) -> jax.Array:
    sketch = jax.random.normal(jax.random.key(0), (matrix.short, K + _OVERSAMPLES))

    def power(_: Any, basis: jax.Array) -> jax.Array:
        return jnp.linalg.qr(matrix.times(jnp.linalg.qr(matrix.transposed_times(basis))[0]))[0]

    basis = lax.fori_loop(0, effort, power, jnp.linalg.qr(matrix.times(sketch))[0])
    return jnp.linalg.svd(matrix.transposed_times(basis), compute_uv=False)[:K]


def _powers_of_two(least: int, most: int) -> tuple[int, ...]:
    return tuple(2**i for i in range(least.bit_length() - 1, most.bit_length()))


def peers() -> dict[str, Peer | str]:
    """All of them by name; in the place of one that is not installed, what to install."""
    norm = {"cold": (16,), "warm": (1,), "values": 1, "passes": lambda steps: 2 * steps + 1}
    found: dict[str, Peer | str] = {
        "jnp.linalg.svd": Peer(_svd),
        "jnp.linalg.eigvalsh of W'W": Peer(_eigvalsh),
        "randomized SVD": Peer(
            _randomized, _powers_of_two(1, 64), passes=lambda rounds: 2 * rounds + 2, static=False
        ),
        # An iteration applies W'W to the block, and to the block with its search directions.
        "lobpcg_standard": Peer(
            _lobpcg, _powers_of_two(4, 64), _powers_of_two(1, 64), passes=lambda rounds: 4 * rounds + 2
        ),
        "matfree bidiagonalisation": Peer(
            _matfree, _powers_of_two(32, 256), _powers_of_two(16, 256), passes=lambda depth: 2 * depth
        ),
        "optax.power_iteration": Peer(
            _optax, _powers_of_two(1, 1024), _powers_of_two(1, 1024), 1, lambda rounds: 2 * rounds + 2, False
        ),
        "flax nnx.SpectralNorm": Peer(_flax, **norm),
        "equinox SpectralNorm": Peer(_equinox, **norm),
    }
    for name, package in (("matfree bidiagonalisation", "matfree"), ("equinox SpectralNorm", "equinox")):
        if importlib.util.find_spec(package) is None:
            found[name] = f"left out: `pip install {package}` for it"
    return found


@dataclass
class Contestant:
    """One way at the effort that it needs for one case.

    Args:
      call: runs it once; what comes back is to be waited for.
      found: gives the values out of that: `[n, values]`.
      values: how many it finds.
      passes: reads of the matrix; None for a decomposition.
    """

    call: Callable[[], Any]
    found: Callable[[Any], np.ndarray]
    values: int
    passes: float | None


def contestant(
    peer: Peer, matrices: jax.Array, exact: Truth, before: Truth | None, tol: float, seed: int
) -> Contestant:
    """Finds the smallest effort with which a peer reaches the tolerance.

    Args:
      peer: to prepare.
      matrices: `[rows, columns]` or a stack.
      exact: their truth.
      before: the truth of the matrices before they drifted, for a warm start; None for a cold one.
      tol: relative error of all values that the peer finds.
      seed: of the vectors of a cold start.
    """
    stack = matrices.reshape(-1, *matrices.shape[-2:])
    _, rows, columns = stack.shape
    if before is None:
        random = np.random.default_rng(seed)
        left, right = (random.standard_normal((len(stack), size, K)) for size in (rows, columns))
    else:
        left, right = before.left, before.right
    sides = (left, right) if rows < columns else (right, left)
    starts = tuple(jnp.asarray(side, jnp.float32) for side in sides)

    def run(effort: Any, stack: jax.Array, *starts: jax.Array) -> jax.Array:
        def one(inputs: Any) -> jax.Array:
            array, start, other = inputs
            return peer.compute(Matrix(array), start, other, effort)

        return lax.map(one, (stack, *starts))

    compiled = jax.jit(run, static_argnums=0 if peer.static else ())
    effort = 0
    for effort in peer.cold if before is None else peer.warm:
        found = np.asarray(compiled(effort, stack, *starts))
        if largest_error(found, exact.sigma, peer.values) <= tol:
            break
    passes = None if peer.passes is None else float(peer.passes(effort))
    return Contestant(lambda: compiled(effort, stack, *starts), np.asarray, peer.values, passes)
