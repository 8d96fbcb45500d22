"""What a model's own metadata says of its parameters: nnx variables, boxed linen parameters, haliax's axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from mupwd.family.models import is_instance
from mupwd.paths import path_name

_STATEMENT = "mup_axes"
# In flax's words, newest first.
_NNX_NAMES = ("out_sharding", "sharding_names", "sharding")


@dataclass(frozen=True)
class Annotation:
    """What is written on one parameter.

    Args:
      source: where, in the framework's words.
      names: of its axes; None where an axis has none. Empty: they have no names.
      words: per axis what its module says that it does, or None; empty where it says nothing.
      statement: of what the parameter is, as an override has it; None where there is none.
    """

    source: str
    names: tuple[str | None, ...] = ()
    words: tuple[str | None, ...] = ()
    statement: Any = None


def read_annotations(params: Any) -> dict[str, Annotation]:
    """Returns what is written on the parameters of a model, by path.

    Args:
      params: a framework's own tree, before anything is unboxed.
    """
    found: dict[str, Annotation] = {}
    # A layer says more than the arrays in it.
    for is_node, read in ((_is_haliax_linear, _of_haliax_linear), (_is_leaf, _of_leaf)):
        for path, node in jax.tree_util.tree_flatten_with_path(params, is_leaf=is_node)[0]:
            annotation = read(node) if is_node(node) else None
            if annotation is not None:
                found.setdefault(path_name(path + _inner_path(node)), annotation)
    return found


def _inner_path(node: Any) -> tuple[Any, ...]:
    """The keys inside a box, or a layer, down to the array that is described."""
    if _is_haliax_linear(node):
        weight = jax.tree_util.GetAttrKey("weight")
        return (weight, *_inner_path(node.weight))
    return tuple(jax.tree_util.tree_flatten_with_path(node)[0][0][0])


def _is_leaf(node: Any) -> bool:
    return any(is_instance(node, module, name) for module, name in _READERS)


def _of_leaf(node: Any) -> Annotation | None:
    if not jax.tree.leaves(node):
        return None  # hidden by a filter, as in a partition of equinox's
    for (module, name), read in _READERS.items():
        if is_instance(node, module, name):
            return read(node)
    return None


def _of_nnx(variable: Any) -> Annotation | None:
    metadata = variable.get_metadata()
    statement = metadata.get(_STATEMENT)
    names = next((tuple(metadata[key]) for key in _NNX_NAMES if metadata.get(key)), ())
    if not names and statement is None:
        return None
    source = "nnx metadata " + (_STATEMENT if statement is not None else "of sharding")
    return Annotation(source, _single_names(names), statement=statement)


def _of_linen(box: Any) -> Annotation | None:
    return Annotation("linen's names of its axes", _single_names(box.names))


def _of_haliax(array: Any) -> Annotation | None:
    return Annotation("haliax axes", tuple(axis.name for axis in array.axes))


def _is_haliax_linear(node: Any) -> bool:
    return is_instance(node, "haliax.nn", "Linear")


def _of_haliax_linear(layer: Any) -> Annotation | None:
    # Axes that are in neither were added around it: copies of the layer.
    sums, keeps = (_names_of(spec) for spec in (layer.In, layer.Out))
    names = tuple(axis.name for axis in layer.weight.axes)
    words = tuple("in" if name in sums else "out" if name in keeps else "stack" for name in names)
    return Annotation("haliax's Linear", names, words)


def _names_of(spec: Any) -> set[str]:
    return {axis.name for axis in (spec if isinstance(spec, tuple | list) else (spec,))}


def _single_names(names: tuple[Any, ...]) -> tuple[str | None, ...]:
    # An axis that is sharded over several axes of a mesh has no one name.
    return tuple(name if isinstance(name, str) else None for name in names)


_READERS: dict[tuple[str, str], Callable[[Any], Annotation | None]] = {
    ("flax.nnx", "Variable"): _of_nnx,
    ("flax.linen", "Partitioned"): _of_linen,
    ("haliax", "NamedArray"): _of_haliax,
}
