"""Reads an nnx, linen, equinox, haiku or plain model as a function of its parameters."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mupwd.tracing.errors import TraceError
from mupwd.tracing.trace import is_array


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


def taken_apart(native: Any, inputs: Sequence[Any], call: Callable[..., Any] | None, seed: int = 0) -> Model:
    """Takes a native model apart.

    Raises:
      TraceError: the object is no model that is known.
    """
    if is_instance(native, "flax.nnx", "Module"):
        return _nnx(native, call)
    if is_instance(native, "flax.linen", "Module"):
        return _linen(native, inputs, call, seed)
    if isinstance(native, tuple) and hasattr(native, "init") and hasattr(native, "apply"):
        if call is not None:
            raise TraceError(
                "call= is for models; with haiku, put the call into the function that is transformed"
            )
        return _haiku(native, inputs, seed)
    if isinstance(native, tuple) and len(native) == 2 and callable(native[0]):
        return _pair(*native, call)
    if callable(native) or (call is not None and any(map(is_parameter, jax.tree.leaves(native)))):
        run = call or (lambda model, *args: model(*args))
        return Model(lambda state, *args: run(state[0], *args), native, None, lambda new: new)
    found = type(native).__name__
    if isinstance(native, tuple | list):
        found += f" of ({', '.join(type(part).__name__ for part in native)})"
    raise TraceError(
        f"build() returned {found}; expected an nnx, linen or equinox model, haiku's Transformed, "
        "or a pair (fn, params) with fn(params, *inputs). For parameters without a function there is "
        "mupwd.family_from_shapes"
    )


def parameters_of(target: Any, known: Collection[str] = ()) -> Any:
    """The tree of parameters of a model, a pair, linen's variables, or the tree itself.

    Args:
      target: any of them.
      known: paths of the family, which tell linen's other collections from parameters.
    """
    if is_instance(target, "flax.nnx", "Module"):
        from flax import nnx

        return nnx.state(target, nnx.Param)
    if is_instance(target, "flax.nnx", "State"):
        from flax import nnx

        # A state of bare arrays has lost its types, and passes as it is.
        return nnx.filter_state(target, nnx.Param) or target
    if isinstance(target, Mapping) and "params" in target:
        others = {path.split("/", 1)[0] for path in known}
        return {key: value for key, value in target.items() if key == "params" or key in others}
    if isinstance(target, tuple) and len(target) == 2:
        first, second = target
        if is_instance(second, "equinox.nn", "State"):
            return first
        if callable(first):
            return second
    return target


def mutable_state(model: Any) -> Any:
    """What an nnx model may change in a call (random streams, running statistics); None for all else."""
    if not is_instance(model, "flax.nnx", "Module"):
        return None
    from flax import nnx

    return nnx.state(model, nnx.Not(nnx.Param))


def restore_state(model: Any, state: Any) -> None:
    """Writes what `mutable_state` gave, after a call on a copy, back into the model."""
    if state is not None:
        from flax import nnx

        nnx.update(model, state)


def is_parameter(leaf: Any) -> bool:
    """Whether a leaf is something that an optimizer moves."""
    return is_array(leaf) and jnp.issubdtype(leaf.dtype, np.inexact)


def is_instance(value: Any, module: str, name: str) -> bool:
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
    from flax.core import DenyList

    variables = dict(module.init(jax.random.key(seed), *_examples(inputs)))
    params = variables.pop("params", {})

    def plain_call(module: Any, variables: Any, *args: Any) -> Any:
        # In training mode: linen takes every other stream of randomness from this one, and the new statistics
        # of normalisations are dropped.
        rngs = {"params": jax.random.key(0)}
        return module.apply(variables, *args, rngs=rngs, mutable=DenyList("params"))[0]

    run = call or plain_call
    return Model(
        lambda state, *args: run(module, {"params": state[0], **state[1]}, *args),
        params,
        variables,
        lambda new: new,
        seeded=True,
    )


def _haiku(transformed: Any, inputs: Sequence[Any], seed: int) -> Model:
    params = transformed.init(jax.random.key(seed), *_examples(inputs))
    state: tuple[Any, ...] = ()
    if type(transformed).__name__ == "TransformedWithState":
        params, state = params[0], params[1:]
    # hk.without_apply_rng takes the argument away.
    rng = (jax.random.key(0),) if "rng" in inspect.signature(transformed.apply).parameters else ()
    return Model(
        lambda both, *args: transformed.apply(both[0], *both[1], *rng, *args),
        params,
        state,
        lambda new: new,
        seeded=True,
    )


def _pair(first: Any, second: Any, call: Callable[..., Any] | None) -> Model:
    if is_instance(second, "equinox.nn", "State"):  # of eqx.nn.make_with_state
        run = call or (lambda model, state, *args: model(*args, state))
        return Model(lambda both, *args: run(*both, *args), first, second, lambda new: (new, second))
    if is_instance(first, "flax.linen", "Module"):
        raise TraceError(
            "build() returned a pair of a linen module and something else; return the module alone, or the "
            "pair (module.apply, params)"
        )
    if call is not None:
        raise TraceError("call= is for models; a pair (fn, params) is called as fn(params, *inputs)")
    return Model(lambda state, *args: first(state[0], *args), second, None, lambda new: new)


def _examples(inputs: Sequence[Any]) -> Any:
    """linen and haiku initialise on values; zeros stand for shapes."""

    def example(leaf: Any) -> Any:
        return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf

    return jax.tree.map(example, tuple(inputs))
