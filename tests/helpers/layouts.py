"""Where a training step's arrays live, on eight virtual devices: layouts by name, for any tree of arrays.

    layout = LAYOUTS["fsdp"]
    with jax.set_mesh(layout.mesh()):
        params, batch = layout.place(params), layout.place_batch(batch)
        state = layout.place(jax.jit(tx.init)(params))
        value, gradients = jax.jit(layout.value_and_grad(loss))(params, batch)

Which part of an array a device holds follows from its shape alone, so that a parameter, its gradient and its moments
are cut alike, in every framework's tree.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, auto_axes

DEVICES = 8
_COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "ragged-all-to-all",
    "collective-broadcast",
    "collective-permute",
    "reduce-scatter",
)
Spec = Callable[[tuple[int, ...], dict[str, int]], PartitionSpec]


@dataclass(frozen=True)
class Layout:
    """A mesh, and what of each array its devices hold.

    Attributes:
      name: of the layout.
      explicit: shardings are part of the arrays' types (`AxisType.Explicit`), rather than XLA's to choose.
      axes: size of every axis of the mesh.
      cut: from an array's shape, and `axes`, to its partition.
      rows: axis of the mesh that batches are cut along; None: every device has all of a batch.
    """

    name: str
    explicit: bool
    axes: dict[str, int]
    cut: Spec
    rows: str | None

    def __str__(self) -> str:
        return f"{self.name}, explicit" if self.explicit else self.name

    def mesh(self) -> Mesh:
        kind = AxisType.Explicit if self.explicit else AxisType.Auto
        sizes, names = tuple(self.axes.values()), tuple(self.axes)
        devices = jax.devices()[: math.prod(sizes)]
        return jax.make_mesh(sizes, names, axis_types=(kind,) * len(names), devices=devices)

    def sharding(self, shape: tuple[int, ...]) -> NamedSharding:
        return NamedSharding(self.mesh(), self.cut(tuple(shape), self.axes))

    def shardings(self, tree: Any) -> Any:
        """Of every leaf of a tree of arrays, or of their shapes."""
        return jax.tree.map(lambda leaf: self.sharding(np.shape(leaf)), tree)

    def shapes(self, tree: Any) -> Any:
        """The tree's shapes and types with their shardings, as a checkpoint is restored to."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.sharding(leaf.shape)),
            tree,
        )

    def place(self, tree: Any) -> Any:
        """Parameters, gradients or optimizer state on the mesh; leaves that are no arrays stay as they are.

        Always copies, which a step may donate.
        """

        def put(leaf: Any) -> Any:
            if not hasattr(leaf, "shape"):
                return leaf
            # By way of the host: `device_put` takes what it can of an array without a copy, whatever it is told.
            return jax.device_put(np.array(leaf), self.sharding(leaf.shape), may_alias=False)

        return jax.tree.map(put, tree)

    def place_batch(self, batch: Any) -> Any:
        """A tree of arrays whose first axis enumerates examples."""
        return jax.device_put(batch, NamedSharding(self.mesh(), PartitionSpec(self.rows)))

    def value_and_grad(self, loss: Callable[[Any, Any], jax.Array]) -> Callable[[Any, Any], tuple[Any, Any]]:
        """`jax.value_and_grad(loss)`, whose gradients lie as their parameters do.

        The loss itself is partitioned by XLA on explicit meshes too, so that it can be any framework's model; the
        gradients that come out have their shardings in their types.
        """
        both = jax.value_and_grad(loss)

        def fn(params: Any, batch: Any) -> tuple[Any, Any]:
            if self.explicit:
                out = (PartitionSpec(), self.shardings(params))
                return auto_axes(both, axes=tuple(self.axes), out_sharding=out)(params, batch)
            value, gradients = both(params, batch)
            return value, jax.lax.with_sharding_constraint(gradients, self.shardings(gradients))

        return fn


def _whole(shape: tuple[int, ...], axes: dict[str, int]) -> PartitionSpec:
    return PartitionSpec()


def _longest(shape: tuple[int, ...], axes: dict[str, int]) -> PartitionSpec:
    """The longest axis that the devices divide, the last of equals."""
    return _on(shape, {"data": _longest_of(shape, axes["data"], range(len(shape)))})


def _last(shape: tuple[int, ...], axes: dict[str, int]) -> PartitionSpec:
    return _on(shape, {"tensor": _longest_of(shape, axes["tensor"], range(len(shape))[-1:])})


def _last_and_longest(shape: tuple[int, ...], axes: dict[str, int]) -> PartitionSpec:
    """The last axis along "tensor", and of the others the longest along "data"."""
    last = _longest_of(shape, axes["tensor"], range(len(shape))[-1:])
    others = [axis for axis in range(len(shape)) if axis != last]
    return _on(shape, {"tensor": last, "data": _longest_of(shape, axes["data"], others)})


def _first(shape: tuple[int, ...], axes: dict[str, int]) -> PartitionSpec:
    """The first axis, which enumerates layers where these are stacked."""
    return _on(shape, {"stage": _longest_of(shape, axes["stage"], range(len(shape))[:1])})


def _longest_of(shape: tuple[int, ...], parts: int, candidates: Any) -> int | None:
    fitting = [axis for axis in candidates if shape[axis] and shape[axis] % parts == 0]
    return max(fitting, key=lambda axis: (shape[axis], axis), default=None)


def _on(shape: tuple[int, ...], cut: dict[str, int | None]) -> PartitionSpec:
    names = {axis: name for name, axis in cut.items() if axis is not None}
    return PartitionSpec(*(names.get(axis) for axis in range(len(shape))))


def _layouts() -> dict[str, Layout]:
    kinds: dict[str, tuple[dict[str, int], Spec, str | None]] = {
        "data": ({"data": DEVICES}, _whole, "data"),
        "fsdp": ({"data": DEVICES}, _longest, "data"),
        "tensor": ({"tensor": DEVICES}, _last, None),
        "data × tensor": ({"data": 2, "tensor": 4}, _last_and_longest, "data"),
        "pipeline": ({"stage": 2, "data": 4}, _first, "data"),
    }
    found = [Layout("one device", False, {"data": 1}, _whole, None)]
    for name, (axes, cut, rows) in kinds.items():
        found += [Layout(name, explicit, axes, cut, rows) for explicit in (False, True)]
    return {str(layout): layout for layout in found}


LAYOUTS = _layouts()


def collectives(compiled: Any) -> Counter[str]:
    """How many collective operations of each kind a compiled program has."""
    return Counter(re.findall(rf"= \S.*? ({'|'.join(_COLLECTIVES)})(?:-start)?\(", compiled.as_text()))
