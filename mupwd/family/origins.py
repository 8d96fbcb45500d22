"""Tracing models of a hundred layers in seconds."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from jax.core import Tracer

_LOCK = threading.RLock()


@contextlib.contextmanager
def without_origins() -> Iterator[None]:
    """Lets a tracer say that it has no sharding without a search for where it came from.

    Every random key that flax.nnx draws is asked for its sharding. A tracer has none, and JAX puts the
    equations that the tracer came from into the AttributeError, which flax drops: a search through the whole
    program so far, so that tracing is quadratic in the number of layers (more than a minute for 126).
    """
    with _LOCK:
        verbose = vars(Tracer).get("sharding")
        if not isinstance(verbose, property):
            yield
            return
        Tracer.sharding = property(_unavailable)  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        finally:
            Tracer.sharding = verbose  # pyright: ignore[reportAttributeAccessIssue]


def _unavailable(_: Tracer) -> None:
    raise AttributeError("sharding")
