"""How a family builds its models, and reads their programs without running them."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from mupwd.family.models import Model, taken_apart
from mupwd.family.origins import without_origins
from mupwd.tracing.errors import TraceError
from mupwd.tracing.trace import Program, is_array, program


@dataclass(frozen=True)
class Source:
    """How a family builds its models: what `mupwd.family` was given."""

    build: Callable[..., Any]
    inputs: tuple[Any, ...]
    call: Callable[..., Any] | None

    def __post_init__(self) -> None:
        if not callable(self.build):
            raise TraceError(
                f"build is {type(self.build).__name__}; expected a function build(width) that returns a model, "
                "or a pair (fn, params)"
            )
        others = [
            p.name
            for p in self._arguments[1:]
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name != "seed"
        ]
        if others:
            raise TraceError(
                f"build needs {', '.join(others)} besides the width; it is called as build(width), or "
                "build(width, seed) with an integer seed: give the others a default, or make it "
                f"lambda width: build(width, {others[0]}=…)"
            )

    @property
    def _arguments(self) -> list[inspect.Parameter]:
        # The signature of an nnx class is its metaclass's, which tells nothing.
        of_class = isinstance(self.build, type)
        target: Any = self.build.__init__ if of_class else self.build
        try:
            return list(inspect.signature(target).parameters.values())[of_class:]
        except (TypeError, ValueError):  # a builtin tells nothing
            return []

    @property
    def takes_seed(self) -> bool:
        """Whether `build` has an argument named seed."""
        return any(p.name == "seed" for p in self._arguments[1:])

    def make(self, width: int, seed: int) -> Model:
        """Builds the model of one width."""
        with _noting(f"mupwd ran build({width})"):
            native = self.build(width, seed=seed) if self.takes_seed else self.build(width)
        with _noting(f"mupwd initialised the model of build({width}) with inputs={_described(self.inputs)}"):
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

        with without_origins():
            shapes = iter(jax.eval_shape(arrays))
        leaves = [next(shapes) if leaf is None else leaf for leaf in box["passive"]]
        params, rest = jax.tree.unflatten(box["treedef"], leaves)
        return replace(box["model"], params=params, rest=rest)

    def seeded(self, width: int) -> bool:
        """Whether another seed gives other initial values."""
        return self.takes_seed or self.abstract(width).seeded

    def program(self, width: int) -> Program:
        """The traced program of one width."""
        model = self.abstract(width)

        def fn(params: Any, rest: Any, *args: Any) -> Any:
            return model.fn((params, rest), *args)

        called = (
            f"mupwd called the model of build({width}) with inputs={_described(self.inputs)}; where a model needs "
            "vmap, other arguments or another method, give call=, for example call=lambda model, x: "
            "jax.vmap(model)(x)"
        )
        with _noting(called), without_origins():
            return program(fn, model.params, (model.rest, *self.inputs))


def _described(inputs: Sequence[Any]) -> str:
    def one(leaf: Any) -> str:
        return f"{leaf.dtype}{list(leaf.shape)}" if is_array(leaf) else repr(leaf)

    return str(jax.tree.map(one, tuple(inputs))).replace("'", "")


@contextlib.contextmanager
def _noting(what: str) -> Iterator[None]:
    """Says, below the traceback of an error in the user's own code, what mupwd was doing."""
    try:
        yield
    except TraceError:
        raise
    except Exception as error:
        error.add_note(f"This was raised while {what}.")
        raise
