"""One call of a user's function, traced and walked, to be evaluated again by an interpreter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from mupwd.family.models import mutable_state, restore_state
from mupwd.tracing.interpret import Entries, Interpreter, Pair
from mupwd.tracing.trace import Program, is_array, program, walk
from mupwd.tracing.values import Record


@dataclass(frozen=True)
class Call:
    """A call `fn(params, *args, **kwargs)`: its program, what the walk found, and its inputs."""

    program: Program
    record: Record
    params: Any
    leaves: Sequence[Any]

    def run(
        self, interpreter: Interpreter, references: Mapping[str, Any] | None = None
    ) -> tuple[Any, Entries]:
        """Returns what the call returns, and what visitors recorded; an nnx model's state changes as in the call.

        Args:
          interpreter: with its visitors.
          references: by parameter, what its value is compared with.
        """
        known, names = references or {}, iter(self.program.names)
        inputs = [
            Pair(leaf, known.get(next(names)) if flag else None)
            for leaf, flag in zip(self.leaves, self.program.is_parameter, strict=True)
        ]
        results, entries = interpreter.run(self.program.jaxpr, inputs)
        out, state = self.program.rebuilt([pair.value for pair in results])
        restore_state(self.params, state)
        return out, entries


def check_function(fn: Any) -> None:
    """Refuses what cannot be called, where it is given and not where it is first called.

    Args:
      fn: what is to be measured, or multiplied in.

    Raises:
      TypeError: it is no function.
    """
    if not callable(fn):
        raise TypeError(f"fn must be a function fn(params, *args); got {type(fn).__name__}")


def traced_call(fn: Callable[..., Any], params: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    """Traces a call on its own arguments, without computing anything."""

    def with_state(params: Any, args: Any, kwargs: Any) -> Any:
        return fn(params, *args, **kwargs), mutable_state(params)

    traced = program(with_state, params, (tuple(args), dict(kwargs)))
    leaves = [leaf for leaf in jax.tree.leaves((params, (tuple(args), dict(kwargs)))) if is_array(leaf)]
    return Call(traced, walk(traced, traced), params, leaves)
