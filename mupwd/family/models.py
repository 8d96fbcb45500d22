"""Reads an nnx, linen, equinox, haiku or plain model as a function of its parameters."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mupwd.tracing.errors import TraceError
from mupwd.tracing.trace import Program, program


@dataclass(frozen=True)
class Model:
    """A model taken apart.

    Args:
      fn: called as `fn((params, rest), *inputs)`.
      params: its parameters: a tree of arrays, in which leaves that aren't floating-point arrays are passive.
      rest: its other state.
      rebuild: makes the native object from new parameters.
      seeded: its initial values are drawn by the family's seed, whether or not `build` takes one.
    """

    fn: Callable[..., Any]
    params: Any
    rest: Any
    rebuild: Callable[[Any], Any]
    seeded: bool = False


@dataclass(frozen=True)
class Source:
    """How a family builds its models: what `mupwd.family` was given."""

    build: Callable[..., Any]
    inputs: tuple[Any, ...]
    call: Callable[..., Any] | None

    @property
    def takes_seed(self) -> bool:
        """Whether `build` has a second argument without default, or one named seed."""
        try:
            parameters = list(inspect.signature(self.build).parameters.values())
        except (TypeError, ValueError):
            return False
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        required = [p for p in positional if p.default is p.empty]
        return len(required) > 1 or any(p.name == "seed" for p in parameters[1:])

    def make(self, width: int, seed: int) -> Model:
        """Builds the model of one width."""
        native = self.build(width, seed) if self.takes_seed else self.build(width)
        return taken_apart(native, self.inputs, self.call, seed)

    def abstract(self, width: int) -> Model:
        """The same with shapes in the place of arrays; nothing is computed."""
        box: dict[str, Any] = {}

        def arrays() -> list[Any]:
            model = self.make(width, 0)
            leaves, treedef = jax.tree.flatten((model.params, model.rest))
            box["model"], box["treedef"] = model, treedef
            box["passive"] = [None if is_array(leaf) else leaf for leaf in leaves]
            return [leaf for leaf in leaves if is_array(leaf)]

        shapes = iter(jax.eval_shape(arrays))
        leaves = [next(shapes) if leaf is None else leaf for leaf in box["passive"]]
        params, rest = jax.tree.unflatten(box["treedef"], leaves)
        model: Model = box["model"]
        return replace(model, params=params, rest=rest)

    def seeded(self, width: int) -> bool:
        """Whether another seed gives other initial values."""
        return self.takes_seed or self.abstract(width).seeded

    def program(self, width: int) -> Program:
        """The traced program of one width."""
        model = self.abstract(width)
        inputs = jax.tree.map(lambda x: x if hasattr(x, "dtype") else np.asarray(x), self.inputs)

        def fn(params: Any, rest: Any, *args: Any) -> Any:
            return model.fn((params, rest), *args)

        try:
            return program(fn, model.params, (model.rest, *inputs))
        except jax.errors.UnexpectedTracerError as error:
            raise TraceError(
                "the model's function holds an array that build() computed outside of its parameters (a mask, a "
                "rotary table); compute it inside the function, or make it part of the model's state"
            ) from error


def taken_apart(native: Any, inputs: Sequence[Any], call: Callable[..., Any] | None, seed: int = 0) -> Model:
    """Takes a native model apart.

    Raises:
      TraceError: the object is no model that is known.
    """
    if _is(native, "flax.nnx", "Module"):
        return _nnx(native, call)
    if _is(native, "flax.linen", "Module"):
        return _linen(native, inputs, call, seed)
    if isinstance(native, tuple) and hasattr(native, "init") and hasattr(native, "apply"):
        return _haiku(native, inputs, seed)
    if isinstance(native, tuple) and len(native) == 2 and callable(native[0]):
        fn, params = native
        if call is not None:
            raise TraceError("call= is for models; a pair (fn, params) is called as fn(params, *inputs)")
        return Model(lambda state, *args: fn(state[0], *args), params, None, lambda new: new)
    if callable(native) or call is not None:  # equinox, and any other tree that can be called
        run = call or (lambda model, *args: model(*args))
        return Model(lambda state, *args: run(state[0], *args), native, None, lambda new: new)
    raise TraceError(
        f"build() returned {type(native).__name__}; expected an nnx, linen or equinox model, haiku's Transformed, "
        "or a pair (fn, params) with fn(params, *inputs)"
    )


def parameters_of(target: Any) -> Any:
    """The tree of parameters of a model, a pair, or the tree itself."""
    if _is(target, "flax.nnx", "Module"):
        from flax import nnx

        return nnx.state(target, nnx.Param)
    if isinstance(target, tuple) and len(target) == 2 and callable(target[0]):
        return target[1]
    return target


def mutable_state(model: Any) -> Any:
    """What an nnx model may change in a call (random streams, running statistics); None for all else."""
    if not _is(model, "flax.nnx", "Module"):
        return None
    from flax import nnx

    return nnx.state(model, nnx.Not(nnx.Param))


def restore_state(model: Any, state: Any) -> None:
    """Writes what `mutable_state` gave, after a call on a copy, back into the model."""
    if state is not None:
        from flax import nnx

        nnx.update(model, state)


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array or stands for one."""
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not isinstance(leaf, type)


def is_parameter(leaf: Any) -> bool:
    """Whether a leaf is something that an optimizer moves."""
    return is_array(leaf) and jnp.issubdtype(leaf.dtype, np.inexact)


def _is(value: Any, module: str, name: str) -> bool:
    """isinstance without importing a framework that the user does not use."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def _nnx(model: Any, call: Callable[..., Any] | None) -> Model:
    from flax import nnx

    graph, params, rest = nnx.split(model, nnx.Param, ...)
    run = call or (lambda model, *args: model(*args))

    def rebuild(new: Any) -> Any:
        nnx.update(model, new)
        return model

    return Model(lambda state, *args: run(nnx.merge(graph, *state), *args), params, rest, rebuild)


def _linen(module: Any, inputs: Sequence[Any], call: Callable[..., Any] | None, seed: int) -> Model:
    examples = jax.tree.map(_example, tuple(inputs))
    variables = dict(module.init(jax.random.key(seed), *examples))
    params = variables.pop("params", {})
    run = call or (lambda module, variables, *args: module.apply(variables, *args))
    return Model(
        lambda state, *args: run(module, {"params": state[0], **state[1]}, *args),
        params,
        variables,
        lambda new: new,
        seeded=True,
    )


def _haiku(transformed: Any, inputs: Sequence[Any], seed: int) -> Model:
    examples = jax.tree.map(_example, tuple(inputs))
    made = transformed.init(jax.random.key(seed), *examples)
    # hk.without_apply_rng takes the key out of the arguments.
    key = (jax.random.key(0),) if "rng" in inspect.signature(transformed.apply).parameters else ()
    if type(transformed).__name__ == "TransformedWithState":
        params, state = made
        return Model(
            lambda both, *args: transformed.apply(both[0], both[1], *key, *args),
            params,
            state,
            lambda new: new,
            seeded=True,
        )
    return Model(
        lambda both, *args: transformed.apply(both[0], *key, *args),
        made,
        None,
        lambda new: new,
        seeded=True,
    )


def _example(leaf: Any) -> Any:
    """linen and haiku initialise on values; zeros stand for shapes."""
    return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
