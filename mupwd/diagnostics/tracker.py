"""A tracker of singular values that runs inside the compiled train step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from mupwd.diagnostics.geometry import Geometry, geometry
from mupwd.diagnostics.krylov import columns, estimate
from mupwd.diagnostics.matrices import Group, groups_of
from mupwd.diagnostics.observation import Observation, flat, observation
from mupwd.diagnostics.products import Products
from mupwd.diagnostics.sharding import replicating
from mupwd.diagnostics.spectrum import SEED, by_path, check_arguments, safe_scale
from mupwd.paths import named_leaves
from mupwd.plan import Plan, check_is_plan
from mupwd.scalars import check_rate, check_scalar

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

# A cold start on a Gaussian matrix of width 2048, which is the hardest, takes 40.
_MAX_PASSES = 60


class Following(NamedTuple):
    """What is followed of one tree: parameters, or their updates.

    Attributes:
      observations: `{path: Observation}`, the last ones.
      disagreements: `{path: int}`: in how many audits a cold start found a larger singular value than the block
        that is carried along.
      blocks: `{first path of a group: right singular vectors [n, s, b]}`, zero before the first observation.
    """

    observations: dict[str, Observation]
    disagreements: dict[str, Int[Array, "*copies"]]
    blocks: dict[str, Float[Array, "n s b"]]


class SpectrumState(NamedTuple):
    """State of `track_spectrum`: a tree of arrays, which checkpoints, donates, scans and shards.

    Attributes:
      step: number of updates that were seen.
      observed_at: the update before which the last observation was made; -1 before the first.
      weights: of the parameters.
      updates: of the updates; None where they are not followed.
      geometry: `{path: Geometry}` of the last observed step.

    Example:
      >>> import mupwd
      >>> wide = lambda d: {"up": jnp.eye(d, 4 * d)}
      >>> plan = mupwd.family_from_shapes(wide(4), wide(8), axes={"up": "in out"}).plan(wide(8))
      >>> state = track_spectrum(plan, k=2).init(wide(8))
      >>> int(state.step), int(state.observed_at), state.observations["up"].sigma.shape
      (0, -1, (2,))
    """

    step: Int[Array, ""]
    observed_at: Int[Array, ""]
    weights: Following
    updates: Following | None
    geometry: dict[str, Geometry]

    @property
    def observations(self) -> dict[str, Observation]:
        """The last observations of the parameters, by path."""
        return self.weights.observations


def track_spectrum(
    plan: Plan,
    k: int = 8,
    every: int = 10,
    tol: float = 1e-3,
    *,
    updates: bool = False,
    audit_every: int = 500,
    learning_rate: optax.ScalarOrSchedule | None = None,
    weight_decay: optax.ScalarOrSchedule | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Follows the k largest singular values of every matrix through training.

    An observation starts from the singular vectors of the one before. Block power iteration with Rayleigh-Ritz
    is repeated until the estimate of the relative error, $3 r^2 / (2 \sigma (\sigma - \sigma_b))$, is at most
    `tol` for all k; where five rounds do not do, and at the first observation, block Krylov iteration goes on.
    What no residual can see is a new direction outside of the block: every `audit_every` steps it is looked for
    from random vectors. Between observations a step costs a comparison of two integers.

    Used in a train step or, the same, as the last transform of an `optax.chain`. It passes the updates through
    unchanged, and observes the parameters *before* the update.

    Args:
      plan: of this model.
      k: how many singular values.
      every: steps from one observation to the next.
      tol: relative error.
      updates: follow the singular values of the updates as well. They turn faster than the weights: expect more
        passes.
      audit_every: steps between cold searches for directions that were missed.
      learning_rate: as given to the optimizer: the base's number, or schedule from the step. With
        `weight_decay`, for the decay timescale.
      weight_decay: the base's, per unit of learning rate (coupled).

    Returns:
      A transform with `SpectrumState`; `mupwd.diagnostics.metrics(state)` gives it as named scalars.

    Raises:
      ValueError: a number is out of range; (from `update`) the parameters are missing.
      TypeError: a learning rate or decay is no number, array or schedule; `plan` is no plan.
      PlanError: (from `init`) the parameters do not fit the plan, a matrix is one of complex numbers, or a parameter is
        named as the copies of another.

    Example:
      >>> import jax, jax.numpy as jnp, mupwd
      >>> shapes = lambda d: {"up": jax.random.normal(jax.random.key(0), (d, 4 * d))}
      >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"})
      >>> params = shapes(32)
      >>> plan = family.plan(params)
      >>> tx = optax.chain(mupwd.adamw(1e-3, plan), mupwd.track_spectrum(plan, k=2, every=5))
      >>> updates, state = jax.jit(tx.update)(params, tx.init(params), params)
      >>> found = state[-1].observations["up"]
      >>> found.sigma.shape, bool(found.converged)
      ((2,), True)

    Source: the bound on the error is that of Kato and Temple (Parlett, "The Symmetric Eigenvalue Problem",
    theorem 11.7.1), with a margin that was measured; see docs/spectra.md.
    """
    check_is_plan(plan)
    check_arguments(k, tol)
    for name, value in (("every", every), ("audit_every", audit_every)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be a positive integer, a number of steps; got {value!r}")
    for name, value in (("learning_rate", learning_rate), ("weight_decay", weight_decay)):
        if value is not None:
            check_rate(name, value)
    follow_updates = updates

    def init(params: Any) -> Any:
        groups = groups_of(plan, params)
        nothing = jnp.int32(0)
        return SpectrumState(
            step=nothing,
            observed_at=jnp.int32(-1),
            weights=_empty(groups, k),
            updates=_empty(groups, k) if follow_updates else None,
            geometry=_no_geometry(groups, told=learning_rate is not None and weight_decay is not None),
        )

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Any]:
        del extra_args
        if params is None:
            raise ValueError(
                "track_spectrum observes the parameters: call tx.update(updates, state, params) with all three"
            )
        weights, steps = named_leaves(params), named_leaves(updates)
        groups = groups_of(plan, params)
        decay = _decay_per_step(learning_rate, weight_decay, state.step)
        # The first observation in each interval of that many steps, but for the very first, which is cold.
        audit = (state.step > 0) & (state.step % audit_every < every)
        key = jax.random.fold_in(jax.random.key(SEED), state.step)

        def observe(
            weights: Mapping[str, Array],
            steps: Mapping[str, Array],
            old: SpectrumState,
            now: tuple[Array | None, Array, Array],
        ) -> Any:
            decay, audit, key = now
            following = lambda leaves, was: _observed(groups, leaves, was, audit, key, k=k, tol=tol)  # noqa: E731
            found = following(weights, old.weights)
            moved = None if old.updates is None else following(steps, old.updates)
            moving: dict[str, Geometry] = {}
            for group in groups:
                for path in group.paths:
                    per_step = None if decay is None else decay * (plan[path].lr * plan[path].wd)
                    one = geometry(group.layout, weights[path], steps[path], per_step)
                    moving |= by_path(Group((path,), group.layout), one)
            return SpectrumState(old.step, old.step, found, moved, moving)

        matrices = [path for group in groups for path in group.paths]
        state = lax.cond(
            state.step % every == 0,
            replicating(observe, weights),
            lambda weights, steps, old, now: old,
            {path: weights[path] for path in matrices},
            {path: steps[path] for path in matrices},
            state,
            (decay, audit, key),
        )
        return updates, state._replace(step=optax.safe_increment(state.step))

    return optax.GradientTransformationExtraArgs(init, update)


def metrics(state: SpectrumState) -> dict[str, Array]:
    """Returns the last observations as named scalars, as a run's log has them.

    Args:
      state: of `track_spectrum`, traced or concrete.

    Returns:
      `{"spectral/<path>/sigma_1": ..., "spectral/<path>[i]/err_1": ..., "update/<path>/angle": ...}`; copy i of a
      stack is `<path>[i]`. `spectral/` is of the parameters, `update/` of the step: its singular values, where
      they are followed, and its geometry.

    Example:
      >>> import jax, mupwd
      >>> shapes = lambda d: {"up": jax.random.normal(jax.random.key(0), (d, d))}
      >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"})
      >>> tracker = mupwd.track_spectrum(family.plan(shapes(32)), k=1)
      >>> _, state = tracker.update(shapes(32), tracker.init(shapes(32)), shapes(32))
      >>> [name for name in metrics(state) if name.startswith("spectral/")][:3]
      ['spectral/up/sigma_1', 'spectral/up/err_1', 'spectral/up/passes']
    """
    found = {f"spectral/{name}": value for name, value in _following(state.weights)}
    if state.updates is not None:
        found |= {f"update/{name}": value for name, value in _following(state.updates)}
    return found | {f"update/{name}": value for name, value in flat(state.geometry)}


class _Audited(NamedTuple):
    disagreements: Int[Array, "*copies"]


def _following(what: Following) -> Iterator[tuple[str, Array]]:
    yield from flat(what.observations)
    yield from flat({path: _Audited(count) for path, count in what.disagreements.items()})


def _empty(groups: tuple[Group, ...], k: int) -> Following:
    observations, disagreements, blocks = {}, {}, {}
    for group in groups:
        short = group.layout.size(group.layout.short)
        width = columns(short, k)
        blocks[group.paths[0]] = jnp.zeros((group.count, short, width), jnp.float32)
        values = jnp.zeros((group.count, min(k, width)), jnp.float32)
        numbers = jnp.zeros(group.count, jnp.float32)
        passes = jnp.zeros(group.count, jnp.int32)
        # No NaN in it, which `jax_debug_nans` would report: zeros that may be wrong by all of their size.
        nothing = Observation(
            values, values + 1, passes, jnp.zeros(group.count, bool), numbers, numbers, numbers, numbers
        )
        observations |= by_path(group, nothing)
        disagreements |= by_path(group, passes)
    return Following(observations, disagreements, blocks)


def _observed(
    groups: tuple[Group, ...],
    leaves: Mapping[str, Array],
    old: Following,
    audit: Bool[Array, ""],
    key: Array,
    *,
    k: int,
    tol: float,
) -> Following:
    observations, disagreements, blocks = {}, {}, {}
    for index, group in enumerate(groups):
        products = Products(group.layout, [leaves[path] for path in group.paths])
        found, disagreed = estimate(
            products,
            old.blocks[group.paths[0]],
            audit,
            jax.random.fold_in(key, index),
            k=k,
            tol=tol,
            max_passes=_MAX_PASSES,
        )
        fro = products.norms(safe_scale(found.sigma[:, 0]))
        result = observation(found.sigma, found.err, found.passes, fro, tol, group.layout)
        observations |= by_path(group, result)
        blocks[group.paths[0]] = found.block
        for path, now in by_path(group, disagreed.astype(jnp.int32)).items():
            disagreements[path] = old.disagreements[path] + now
    return Following(observations, disagreements, blocks)


def _no_geometry(groups: tuple[Group, ...], told: bool) -> dict[str, Geometry]:
    found: dict[str, Geometry] = {}
    for group in groups:
        numbers = jnp.zeros(group.count, jnp.float32)
        found |= by_path(group, Geometry(numbers, numbers, numbers, numbers, numbers if told else None))
    return found


def _decay_per_step(learning_rate: Any, weight_decay: Any, step: Array) -> Float[Array, ""] | None:
    """`lr * wd` at the base, at this step; None where one of them was not given."""
    if learning_rate is None or weight_decay is None:
        return None
    rate, decay = (value(step) if callable(value) else value for value in (learning_rate, weight_decay))
    check_scalar("what the schedule learning_rate returns", rate)
    check_scalar("what the schedule weight_decay returns", decay)
    return jnp.asarray(rate, jnp.float32) * jnp.asarray(decay, jnp.float32)
