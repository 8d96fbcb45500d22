"""Short training runs of one width, instrumented at every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mupwd.diagnostics.activations import activation_products
from mupwd.diagnostics.coordinate_uses import Uses, uses_of
from mupwd.diagnostics.instrument import UseStats, instrument
from mupwd.family import Family
from mupwd.family.models import is_parameter, parameters_of
from mupwd.forward import apply_forward
from mupwd.paths import map_named, named_leaves
from mupwd.plan import Plan
from mupwd.tracing.trace import is_array

Batch = tuple[Any, Any]
Batches = Batch | Callable[[int, int], Batch]


class Run(NamedTuple):
    """What one run measured, at its start and after each step: leading axis [steps + 1].

    Attributes:
      losses: of the batch of that step.
      outputs: RMS of what the model returns.
      stats: `{path: [one per use]}`, arrays.
      logits: `{source line: [one per product]}`, RMS of products of activations over an axis that grows, scaled.
    """

    losses: np.ndarray
    outputs: np.ndarray
    stats: Mapping[str, Sequence[UseStats]]
    logits: Mapping[str, Sequence[np.ndarray]]


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Flag:
    """An input that is no array, as `family` passes it on: not stacked, and known while the program is traced."""

    value: Any


@dataclass(frozen=True)
class Program:
    """The training program of one width, compiled once for all seeds.

    Attributes:
      width: the width.
      plan: for it.
      fn: called as `fn(params, rest, *inputs)`, forward factors applied.
      params: the model's own parameters.
      rest: its other state.
      transform: the optimizer.
      loss: `loss(outputs, targets)`, a scalar.
      logits: source lines of the products of activations to measure.
    """

    width: int
    plan: Plan
    fn: Callable[..., Any]
    params: Any
    rest: Any
    transform: optax.GradientTransformation
    loss: Callable[[Any, Any], Any]
    logits: frozenset[str]

    def measure(self, params: Any, batches: Any, state: Any = None) -> Run:
        """Trains from given parameters and measures every use at every step.

        Args:
          params: of this width, as a model or a tree of any framework.
          batches: what `stacked` returns.
          state: of the optimizer; by default a new one.
        """
        start = _with_values(self.params, parameters_of(params, set(self.plan)), self.width)
        state = self.transform.init(start) if state is None else state
        return jax.device_get(self._scanned(start, self.rest, state, batches))

    def uses(self, batches: Any) -> Uses:
        """Returns what each use of each parameter is, and along which sizes activations are contracted."""
        inputs = jax.tree.map(lambda leaf: leaf[0], batches[0])
        return uses_of(self.fn, self.plan, self.params, self.rest, *inputs)

    @cached_property
    def _scanned(self) -> Callable[..., Run]:
        extended = optax.with_extra_args_support(self.transform)
        with_products = activation_products(self.fn)

        def observed(*args: Any) -> Any:
            if not self.logits:
                return self.fn(*args), {}
            outputs, products = with_products(*args)
            return outputs, {line: [p.rms_scaled for p in products[line]] for line in self.logits}

        @jax.jit
        def scanned(start: Any, rest: Any, state: Any, batches: Any) -> Run:
            measured = instrument(observed, since=start)

            def step(carry: Any, batch: Any) -> Any:
                params, state = carry
                inputs, targets = batch

                def objective(params: Any) -> Any:
                    (outputs, logits), stats = measured(params, rest, *inputs)
                    return self.loss(outputs, targets), (_rms(outputs), stats, logits)

                (value, found), gradient = jax.value_and_grad(objective, has_aux=True)(params)
                updates, state = extended.update(gradient, state, params, value=value)
                return (optax.apply_updates(params, updates), state), Run(value, *found)

            return jax.lax.scan(step, (start, state), batches)[1]

        return scanned


def prepared(
    family: Family,
    width: int,
    plan: Plan,
    loss: Callable[[Any, Any], Any],
    transform: optax.GradientTransformation,
) -> Program:
    """Returns the training program of one width of a family, with the plan's forward factors in.

    Args:
      family: that knows how to build its models.
      width: the width.
      plan: for that width.
      loss: `loss(outputs, targets)`, a scalar.
      transform: the optimizer.
    """
    assert family.source is not None
    model = family.source.make(width, 0)
    logits = frozenset(product.source for product in family.logits)
    params, whole_params = _taken_apart(model.params, is_parameter)
    rest, whole_rest = _taken_apart(model.rest, is_array)

    def called(params: Any, rest: Any, *inputs: Any) -> Any:
        return model.fn((whole_params(params), whole_rest(rest)), *_unwrapped(inputs))

    return Program(width, plan, apply_forward(called, plan), params, rest, transform, loss, logits)


def stacked(batches: Batches, seed: int, steps: int) -> Any:
    """Returns the batches of a run: `((inputs, …), targets)`, each leaf [steps + 1, ...].

    Raises:
      ValueError: a batch is no pair, or not like that of the first step.
    """
    found: list[Any] = []
    for step in range(steps + 1):
        batch = batches(seed, step) if callable(batches) else batches
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise ValueError(
                "batches: expected a pair (inputs, targets), or a function batches(seed, step) that returns one; "
                f"found {type(batch).__name__}"
                + (f" of {len(batch)}" if isinstance(batch, tuple | list) else "")
            )
        inputs, targets = batch
        inputs = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
        wrapped = jax.tree.map(_stackable, inputs)
        found.append((wrapped, jax.tree.map(np.asarray, targets)))
        if (own := _described(found[-1])) != (first := _described(found[0])):
            raise ValueError(
                f"batches(seed={seed}, step={step}): expected what step 0 has, {first}; found {own}. One program "
                "trains on all steps: give every batch the same shapes"
            )
    return jax.tree.map(_stack, *found)


def _stackable(leaf: Any) -> Any:
    if not is_array(leaf):
        return _Flag(leaf)
    return leaf if _is_key(leaf) else np.asarray(leaf)


def _stack(*leaves: Any) -> Any:
    return jnp.stack(leaves) if _is_key(leaves[0]) else np.stack(leaves)


def _is_key(leaf: Any) -> bool:
    """Whether an array holds keys of random numbers, which numpy cannot."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _unwrapped(inputs: Any) -> Any:
    """The inputs as they were given, flags and all."""
    return jax.tree.map(lambda leaf: leaf.value if _is_flag(leaf) else leaf, inputs, is_leaf=_is_flag)


def _is_flag(leaf: Any) -> bool:
    return isinstance(leaf, _Flag)


def _described(batch: Any) -> str:
    """Shapes, dtypes and flags of a batch."""
    inputs, targets = batch
    described = jax.tree.map(
        lambda leaf: f"{leaf.dtype}{list(leaf.shape)}" if is_array(leaf) else leaf,
        (_unwrapped(inputs), targets),
    )
    return str(described).replace("'", "")


def _with_values(template: Any, values: Any, width: int) -> Any:
    """Returns the template with its parameters replaced by those of the same names."""
    found = {path: leaf for path, leaf in named_leaves(values).items() if is_parameter(leaf)}

    def value(path: str, leaf: Any) -> Any:
        if not is_parameter(leaf):
            return leaf
        if path not in found or np.shape(found[path]) != np.shape(leaf):
            other = f"one of shape {np.shape(found[path])}" if path in found else "none"
            raise ValueError(
                f"init({width}, …): expected a parameter {path} of shape {np.shape(leaf)}, as in the family's own "
                f"model; found {other}"
            )
        return found[path]

    return map_named(value, template)


def _taken_apart(tree: Any, wanted: Callable[[Any], bool]) -> tuple[Any, Callable[[Any], Any]]:
    """Splits a tree into what a jitted function may take, and a function that puts the rest back."""
    dynamic = jax.tree.map(lambda leaf: leaf if wanted(leaf) else None, tree)

    def whole(dynamic: Any) -> Any:
        return jax.tree.map(
            lambda mine, leaf: leaf if mine is None else mine,
            dynamic,
            tree,
            is_leaf=lambda leaf: leaf is None,
        )

    return dynamic, whole


def _rms(outputs: Any) -> Any:
    leaves = [
        jnp.asarray(leaf, jnp.float32)
        for leaf in jax.tree.leaves(outputs)
        if is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    total = sum((jnp.sum(leaf * leaf) for leaf in leaves), jnp.zeros((), jnp.float32))
    return jnp.sqrt(total / jnp.asarray(max(sum(leaf.size for leaf in leaves), 1), jnp.float32))
