"""Which framework, optimizer and layout are tried together, and the page that says how it went."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from helpers.layouts import LAYOUTS, Layout
from helpers.toys import BATCH, INPUTS, OUTPUTS, Toy, plain
from mupwd.paths import map_named, named_leaves

STEPS = 3
PLACES = ("one device", "data", "fsdp", "tensor", "data × tensor", "pipeline")


@dataclass(frozen=True)
class Cell:
    """One combination.

    Attributes:
      layout: a name of `LAYOUTS`.
    """

    framework: str
    optimizer: str
    layout: str

    def __str__(self) -> str:
        return f"{self.framework}-{self.optimizer}-{self.layout}"


def pairwise(frameworks: list[str], optimizers: list[str]) -> list[Cell]:
    """Cells in which every two of a framework, an optimizer and a layout meet, on meshes of both kinds."""
    assert len(frameworks) == len(PLACES), "a Latin square needs as many frameworks as layouts"
    cells = []
    for i, optimizer in enumerate(optimizers):
        for j, framework in enumerate(frameworks):
            place = PLACES[(i + j) % len(PLACES)]
            explicit = (j + i // len(PLACES)) % 2 and place != "one device"
            cells.append(Cell(framework, optimizer, f"{place}, explicit" if explicit else place))
    return cells


@functools.cache
def start(toy: Callable[[], Toy]) -> tuple[Toy, Any]:
    """A toy, and its parameters with the values that the plain one has, so that all train alike."""
    made, one = _made(toy), _made(plain)
    values = named_leaves(one.params)
    like = dict(zip(one.roles, made.roles.items(), strict=True))

    def value(name: str, leaf: Any) -> Any:
        for own, (part, (_, axes)) in like.items():
            if part in name:
                return values[own].T if axes == ("out", "in") else values[own]
        raise AssertionError(f"{name} is no parameter of a toy")

    return made, map_named(value, made.params)


_made = functools.cache(lambda toy: toy())


def losses(
    toy: Toy, params: Any, make: Callable[..., optax.GradientTransformation], layout: Layout
) -> list[float]:
    """The losses of a few steps, and one after them."""
    tx, data = make(toy.plan()), _batches()
    with jax.set_mesh(layout.mesh()):
        params = layout.place(params)
        state = layout.place(tx.init(params))

        @jax.jit
        def step(gradients: Any, state: Any, params: Any) -> Any:
            updates, state = tx.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        found = []
        for batch in data:
            value, gradients = _gradients(toy.loss, str(layout))(params, layout.place_batch(batch))
            params, state = step(gradients, state, params)
            found.append(value)
        return [float(value) for value in found]


@functools.cache
def _gradients(loss: Callable[..., jax.Array], layout: str) -> Callable[..., Any]:
    # By itself, so that one compilation serves all optimizers.
    return jax.jit(LAYOUTS[layout].value_and_grad(loss))


def _batches() -> list[Any]:
    random = np.random.default_rng(0)
    draw = lambda size: jnp.asarray(random.normal(size=(BATCH, size)), jnp.float32)  # noqa: E731
    return [(draw(INPUTS), draw(OUTPUTS)) for _ in range(STEPS + 1)]


def tables(passed: Mapping[Cell, str], refused: Mapping[str, str]) -> list[str]:
    """The tables of docs/compatibility.md.

    Args:
      passed: what each cell showed, as a sign.
      refused: optimizers that are refused, with the reason.
    """
    frameworks = list(dict.fromkeys(cell.framework for cell in passed))
    rows = {
        name: [f"{sign} {cell.layout}" for cell, sign in passed.items() if cell.optimizer == name]
        for name in dict.fromkeys(cell.optimizer for cell in passed)
    }
    return [
        _table(["", *frameworks], rows),
        _table(["optimizer", "why"], {n: [r] for n, r in refused.items()}),
    ]


def with_tables(page: str, tables: list[str]) -> str:
    """A page of Markdown with other tables in the places of its own."""
    pieces = re.split(r"(?:^\|.*\n)+", page, flags=re.MULTILINE)
    assert len(pieces) == len(tables) + 1, f"the page has {len(pieces) - 1} tables"
    return "".join(piece + table for piece, table in zip(pieces, [*tables, ""], strict=True))


def _table(head: list[str], rows: Mapping[str, list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([f"`{name}`", *entries] for name, entries in rows.items())]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
