"""Traces a function of parameters without running it, and walks what it does with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mupwd.paths import path_name
from mupwd.tracing.decide import Shapes, deciding
from mupwd.tracing.errors import TraceError
from mupwd.tracing.uses import Site, settle
from mupwd.tracing.values import Record, Tag, Value, fresh_term, label_axis
from mupwd.tracing.walk import Walk
from mupwd.tracing.words import axis_words, described, refusal

_HOLE = object()


@dataclass(frozen=True)
class Program:
    """A function of parameters as a jaxpr, with the names of those of its inputs that are parameters."""

    jaxpr: Any
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    is_parameter: tuple[bool, ...]  # per input of the jaxpr
    is_mask: tuple[bool, ...]  # likewise: booleans that lie among the parameters
    rebuilt: Callable[[Sequence[Any]], Any]  # the function's own result, from those of the jaxpr


@dataclass(frozen=True)
class ParameterAxes:
    """What a program does with one parameter, use by use.

    Args:
      shape: its sizes.
      axes: per use, what each axis does: "in", "out", "stack", "lookup", "elementwise".
      uses: one line per use, with its primitive and source line.

    Example:
      >>> import jax.numpy as jnp
      >>> table = trace_axes(lambda p, t: p["embed"][t], {"embed": jnp.ones((100, 8))}, jnp.zeros(5, int))["embed"]
      >>> table.shape, table.axes
      ((100, 8), (('lookup', 'out'),))
    """

    shape: tuple[int, ...]
    axes: tuple[tuple[str, ...], ...]
    uses: tuple[str, ...]


def program(fn: Callable[..., Any], params: Any, args: Sequence[Any]) -> Program:
    """Traces `fn(params, *args)` on abstract values; leaves that are not arrays are kept as they are."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path((params, tuple(args)))
    arrays = [i for i, (_, leaf) in enumerate(leaves) if is_array(leaf)]
    names, flags, masks = [], [], []
    for i in arrays:
        path, leaf = leaves[i]
        masks.append(path[0].idx == 0 and leaf.dtype == np.bool_)
        flags.append(path[0].idx == 0 and jnp.issubdtype(leaf.dtype, np.inexact))
        if flags[-1]:
            names.append(path_name(path[1:]))
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise TraceError(f"two parameters are both named {twice!r}; rename one of their keys")

    shell: dict[str, Any] = {}

    def flat(*traced: Any) -> Any:
        whole = [leaf for _, leaf in leaves]
        for i, value in zip(arrays, traced, strict=True):
            whole[i] = value
        inner, rest = jax.tree_util.tree_unflatten(treedef, whole)
        out, out_treedef = jax.tree.flatten(fn(inner, *rest))
        shell["treedef"] = out_treedef
        shell["leaves"] = [_HOLE if is_array(x) else x for x in out]
        return [x for x in out if is_array(x)]

    def rebuilt(results: Sequence[Any]) -> Any:
        found = iter(results)
        out = [next(found) if leaf is _HOLE else leaf for leaf in shell["leaves"]]
        return jax.tree.unflatten(shell["treedef"], out)

    # The leaves themselves, not their shapes: under a trace they know over which axes of a mesh they vary.
    jaxpr = jax.make_jaxpr(flat)(*(leaves[i][1] for i in arrays))
    own = [var.aval for var, flag in zip(jaxpr.jaxpr.invars, flags, strict=True) if flag]
    return Program(
        jaxpr,
        tuple(names),
        tuple(a.shape for a in own),
        tuple(str(a.dtype) for a in own),
        tuple(flags),
        tuple(masks),
        rebuilt,
    )


def walk(base: Program, delta: Program) -> Record:
    """Walks the same program at two widths; twice the same one where there is a single width."""
    if base.names != delta.names:
        only = sorted(set(base.names) ^ set(delta.names))
        raise TraceError(
            f"the parameters differ between the two widths: {', '.join(only[:4])}"
            f"{' …' if len(only) > 4 else ''} exist at one of them only; build both with the same depth and options"
        )
    values, number = [], 0
    inputs = zip(base.jaxpr.jaxpr.invars, delta.jaxpr.jaxpr.invars, strict=True)
    for flag, mask, (b, d) in zip(base.is_parameter, base.is_mask, inputs, strict=True):
        if len(b.aval.shape) != len(d.aval.shape):
            name = base.names[number] if flag else "an input"
            raise TraceError(
                f"{name} has {len(b.aval.shape)} axes at one width and {len(d.aval.shape)} at the other "
                f"({b.aval.shape} against {d.aval.shape}); only sizes may depend on the width"
            )
        dims = tuple(zip(b.aval.shape, d.aval.shape, strict=True))
        if flag:
            values.append(Value(dims, (fresh_term(number, dims),)))
            number += 1
        elif mask:
            values.append(Value(dims))  # of the model, as the mask of an autoregressive layer: a constant
        else:
            # What grows is no batch: a model's own state, such as running statistics.
            values.append(Value(dims, data=True, tags=tuple(Tag(sample=b == d) for b, d in dims)))
    record = Record()
    results = Walk(base.names).run(base.jaxpr, delta.jaxpr, values, (), record)
    for number, value in enumerate(results):
        site = Site("return", "the function's result", ("result", number), record, base.names, {})
        settle(site, value)
        for term in value.terms if value.parametric else ():
            if not term.statistic:
                marks = [mark for atoms in term.axes for mark in label_axis(atoms, "elementwise")]
                site.add(0, term, marks, "result")
    return record


def trace_axes(fn: Callable[..., Any], params: Any, *example_args: Any) -> dict[str, ParameterAxes]:
    """Returns what `fn` does with every axis of every parameter.

    Nothing is computed: `fn` is traced on abstract values, and the program is followed from each parameter to
    the products, lookups and sums that consume it.

    Args:
      fn: called as `fn(params, *example_args)`.
      params: a pytree of arrays or `jax.ShapeDtypeStruct`s.
      *example_args: inputs, or their shapes.

    Returns:
      `{path: ParameterAxes}`; a parameter that nothing uses has no uses.

    Raises:
      TraceError: an operation on a parameter that is not understood; names it, its source line and the
        override that `mupwd.family` takes.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> params = {"up": jnp.zeros((4, 8)), "bias": jnp.zeros(8)}
      >>> axes = trace_axes(lambda p, x: x @ p["up"] + p["bias"][None], params, jnp.zeros((2, 4)))
      >>> axes["up"].axes, axes["bias"].axes
      ((('in', 'out'),), (('elementwise',),))
    """
    traced = program(fn, params, example_args)
    record = walk(traced, traced)
    result = {}
    for number, (name, shape) in enumerate(zip(traced.names, traced.shapes, strict=True)):
        found = [(key, use) for key, use in record.uses.items() if use.param == number]
        for _, use in found:
            if use.problem:
                raise refusal(name, use.problem, use, len(shape))
        found = deciding(found, record)
        words = [axis_words(len(shape), key, use, record) for key, use in found]
        lines = [described(use, axes) for (_, use), axes in zip(found, words, strict=True)]
        result[name] = ParameterAxes(shape, tuple(words), tuple(lines))
    return result


def pair_shapes(base: Program, delta: Program) -> dict[str, Shapes]:
    """Sizes of every parameter at both widths."""
    return {
        name: Shapes(tuple(zip(b, d, strict=True)), dtype)
        for name, b, d, dtype in zip(base.names, base.shapes, delta.shapes, base.dtypes, strict=True)
    }


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array or stands for one."""
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not isinstance(leaf, type)
