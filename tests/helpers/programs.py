"""Small programs as families: what one piece of a model does, between an input layer and a readout."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

import mupwd

BASE, INPUTS, OUTPUTS, BATCH = 64, 6, 3, 4
_MARK = "# here"


@dataclass(frozen=True)
class Case:
    """A program, and what is expected of it.

    Attributes:
      forward: `forward(params, x, *more)`; `x` is (batch, width) where the program is `inner`.
      shapes: `shapes(width)`, a dictionary of the parameters' shapes.
      expected: `{path: "role: axis words"}`; only what the case is about.
      more: shapes of further inputs, or arrays.
      inner: whether an input layer comes before and a readout after it.
      refused: the parameter that is refused, and the primitive that the message names.
    """

    forward: Callable[..., Any]
    shapes: Callable[[int], Any]
    expected: dict[str, str] = field(default_factory=dict)
    more: tuple[Any, ...] = ()
    inner: bool = True
    refused: tuple[str, str] | None = None

    def family(self, base: int = BASE, **options: Any) -> mupwd.Family:
        x = (jax.ShapeDtypeStruct((BATCH, INPUTS), jnp.float32),) if self.inner else ()
        return mupwd.family(self.build, base=base, inputs=(*x, *map(_struct, self.more)), **options)

    def build(self, width: int) -> tuple[Callable[..., Any], Any]:
        shapes = dict(self.shapes(width))
        if not self.inner:
            return self.forward, _ones(shapes)

        def fn(params: Any, x: jax.Array, *more: Any) -> Any:
            y = self.forward(params, jnp.tanh(x @ params["first"]), *more)
            # A readout of its own where the program leaves the width open; else its result is the model's.
            open_ended = isinstance(y, jax.Array) and y.shape[-1:] == (width,)
            return y @ params["last"] if open_ended else y

        return fn, _ones({"first": (INPUTS, width), **shapes, "last": (width, OUTPUTS)})

    @property
    def line(self) -> str:
        """ "file.py:12", the line of the program that carries the mark."""
        lines, start = inspect.getsourcelines(self.forward)
        [offset] = [i for i, line in enumerate(lines) if _MARK in line]
        return f"{inspect.getsourcefile(self.forward).rsplit('/', 1)[-1]}:{start + offset}"


class Cases(dict[str, Case]):
    """Programs by name, collected by decorators."""

    def decided(self, shapes: Callable[[int], Any], *more: Any, inner: bool = True, **expected: str) -> Any:
        def add(forward: Callable[..., Any]) -> Callable[..., Any]:
            self[forward.__name__] = Case(forward, shapes, expected, more, inner)
            return forward

        return add

    def refused(
        self, path: str, primitive: str, shapes: Callable[[int], Any], *more: Any, inner: bool = True
    ) -> Any:
        def add(forward: Callable[..., Any]) -> Callable[..., Any]:
            self[forward.__name__] = Case(forward, shapes, {}, more, inner, (path, primitive))
            return forward

        return add


def said(family: mupwd.Family) -> dict[str, str]:
    """`{path: "role: axis words"}` of a family."""
    return {path: f"{p.role}: {' '.join(p.axes)}".strip() for path, p in family.parameters.items()}


def suggestion(message: str) -> dict[str, str]:
    """The override that an error message tells the user to write."""
    return ast.literal_eval(re.search(r"overrides=(\{.*?\})", message).group(1))


def _struct(shape: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.float32) if isinstance(shape, tuple) else shape


def _ones(shapes: Any) -> Any:
    return jax.tree.map(jnp.ones, shapes, is_leaf=lambda x: isinstance(x, tuple))
