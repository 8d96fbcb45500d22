"""Where a run's arrays live: on one device, or shared by all devices of all processes.

Only shardings are said here, and XLA's partitioner makes the communication from them: one program serves one device,
several of one process, and those of several processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mupwd.proxy.config import TrainConfig

_AXIS = "devices"


@dataclass(frozen=True)
class Layout:
    """Says of every array of a run which device holds which part of it.

    `cut`, `rows` and `whole` constrain traced arrays inside of a compiled function; of a `jax.ShapeDtypeStruct` they
    say where it will live.

    Args:
      mesh: all devices, along one axis; None: everything is on one device, and `cut`, `rows` and `whole` return what
        they are given.
      full: parameters and optimizer state are cut, and not the batch alone.

    Example:
      >>> layout_of(TrainConfig()).rows("a batch")
      'a batch'
    """

    mesh: Mesh | None = None
    full: bool = False

    def cut(self, tree: Any) -> Any:
        """Cuts parameters, or what an optimizer keeps for each, where the layout is full; else they are whole.

        An array of two axes or more is cut along its longest axis that the number of devices divides, the last of
        equals. Others stay whole: gains are a thousandth of the memory, and each gather takes its time.
        """
        return self._constrained(tree, lambda leaf: self._cut(leaf.shape))

    def rows(self, tree: Any, axis: int = 0) -> Any:
        """Cuts batches along the axis that enumerates their sequences."""
        return self._constrained(tree, lambda _: _along(axis))

    def whole(self, tree: Any) -> Any:
        """Puts all of each array on every device."""
        return self._constrained(tree, lambda _: PartitionSpec())

    def place_rows(self, array: np.ndarray, axis: int) -> jax.Array:
        """Puts batches that every process has onto the devices; each process gives its own devices their rows.

        Args:
          array: on the host, the same in every process.
          axis: that enumerates sequences.
        """
        return self._placed(array, _along(axis))

    def place_whole(self, array: np.ndarray) -> jax.Array:
        """Puts an array that every process has onto every device."""
        return self._placed(array, PartitionSpec())

    def _cut(self, shape: tuple[int, ...]) -> PartitionSpec:
        assert self.mesh is not None
        fitting = [axis for axis, size in enumerate(shape) if size and size % self.mesh.size == 0]
        if not self.full or len(shape) < 2 or not fitting:
            return PartitionSpec()
        return _along(max(fitting, key=lambda axis: (shape[axis], axis)))

    def _placed(self, array: np.ndarray, spec: PartitionSpec) -> jax.Array:
        if self.mesh is None:
            return jnp.asarray(array)
        sharding = NamedSharding(self.mesh, spec)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    def _constrained(self, tree: Any, spec: Callable[[Any], PartitionSpec]) -> Any:
        mesh = self.mesh
        if mesh is None:
            return tree

        def constrain(leaf: Any) -> Any:
            sharding = NamedSharding(mesh, spec(leaf))
            if isinstance(leaf, jax.ShapeDtypeStruct):
                return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
            return jax.lax.with_sharding_constraint(leaf, sharding)

        return jax.tree.map(constrain, tree)


def layout_of(train: TrainConfig) -> Layout:
    """Returns the layout that `train.sharding` asks for, over all devices of all processes.

    Args:
      train: of the run.

    Raises:
      ValueError: the devices do not divide the batch, or several processes would each train alone.
    """
    if train.sharding == "none":
        if jax.process_count() > 1:
            raise ValueError(
                f"sharding='none' trains on one device, and {jax.process_count()} processes run together: each would "
                "train the same alone; set sharding='data' or sharding='full'"
            )
        return Layout()
    devices = jax.device_count()
    if train.batch_size % devices:
        raise ValueError(
            f"batch_size={train.batch_size} cannot be shared by {devices} devices (sharding={train.sharding!r}); use a "
            f"multiple of {devices}"
        )
    return Layout(jax.make_mesh((devices,), (_AXIS,), axis_types=(AxisType.Auto,)), train.sharding == "full")


def _along(axis: int) -> PartitionSpec:
    return PartitionSpec(*[None] * axis, _AXIS)
