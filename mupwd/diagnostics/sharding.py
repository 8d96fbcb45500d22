"""Runs a function of sharded arrays so that XLA decides where its intermediate values live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec, auto_axes


def replicating(fn: Callable[..., Any], *arrays: Any) -> Callable[..., Any]:
    """Returns `fn`, with replicated results where the arrays' types carry shardings.

    On an Explicit mesh every intermediate value's sharding would have to be written down; what is computed here
    (thin blocks, small matrices) is replicated in the end, and how the products of a sharded matrix are split is
    best left to the partitioner, as on an Auto mesh.
    """
    for array in jax.tree.leaves(arrays):
        sharding = getattr(jax.typeof(array), "sharding", None)
        if sharding is not None and sharding.mesh.explicit_axes:
            return auto_axes(fn, axes=sharding.mesh.explicit_axes, out_sharding=PartitionSpec())
    return fn
