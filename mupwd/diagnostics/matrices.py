"""Which matrices a parameter is: its copies, its fan-in and its fan-out, from the axes of a plan."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from mupwd.paths import named_leaves
from mupwd.plan import ParameterPlan, Plan, PlanError

_SUMMED = ("in", "lookup")  # a looked-up row is the product with a one-hot input


@dataclass(frozen=True)
class Layout:
    """How an array is read as matrices, axis by axis; nothing is transposed or copied.

    Args:
      sizes: of the axes after fused ones are cut into (copies, rest).
      copies: axes that enumerate matrices.
      fan_in: axes that a product sums over.
      fan_out: axes that it keeps.
    """

    sizes: tuple[int, ...]
    copies: tuple[int, ...]
    fan_in: tuple[int, ...]
    fan_out: tuple[int, ...]

    def size(self, axes: tuple[int, ...]) -> int:
        """Number of elements along some of the axes."""
        return math.prod(self.sizes[axis] for axis in axes)

    @property
    def count(self) -> int:
        """Number of matrices."""
        return self.size(self.copies)

    @property
    def wide(self) -> bool:
        """Whether the fan-out is larger than the fan-in."""
        return self.size(self.fan_out) > self.size(self.fan_in)

    @property
    def short(self) -> tuple[int, ...]:
        """Axes of the shorter side."""
        return self.fan_in if self.wide else self.fan_out

    @property
    def long(self) -> tuple[int, ...]:
        """Axes of the longer side."""
        return self.fan_out if self.wide else self.fan_in


@dataclass(frozen=True)
class Group:
    """Parameters with the same layout and dtype, whose spectra are computed together."""

    paths: tuple[str, ...]
    layout: Layout

    @property
    def count(self) -> int:
        """Number of matrices in all."""
        return len(self.paths) * self.layout.count


def layout_of(parameter: ParameterPlan) -> Layout | None:
    """Returns how a parameter is read as matrices; None where it is none (a bias, a gain, a position table).

    Raises:
      PlanError: an axis holds copies, but only an override says so, without their number.

    Example:
      >>> from mupwd.plan import ParameterPlan
      >>> from mupwd.tracing.roles import Parameter
      >>> words = ("in", "stack+out")
      >>> qkv = Parameter("qkv", "matrix", (8, 24), "float32", words, (True, True), pieces=(1, 3))
      >>> plan = ParameterPlan(qkv, (16, 48), 2.0, 2.0, 0.5, 1.4, 0.5, 0.7, 1.0, 1.0, 0.5)
      >>> layout_of(plan)
      Layout(sizes=(16, 3, 16), copies=(1,), fan_in=(0,), fan_out=(2,))
    """
    sizes: list[int] = []
    kinds: dict[str, list[int]] = {"stack": [], "in": [], "out": []}
    known = parameter.parameter
    for axis, (word, size) in enumerate(zip(known.axes, parameter.shape, strict=True)):
        words = word.split("+")
        pieces = known.pieces[axis] if known.pieces else 1
        if "stack" in words and len(words) > 1:
            if pieces == 0:
                raise PlanError(
                    f"{parameter.path}, axis {axis} ({word}): it holds several matrices behind each other, but not how "
                    f"many; state the number in the override of the family, for example 'stack3+{words[-1]}'"
                )
            kinds["stack"].append(len(sizes))
            sizes.append(pieces)
            size //= pieces
            words.remove("stack")
        kind = "in" if any(summed in words for summed in _SUMMED) else words[0]
        if kind not in kinds:
            return None
        kinds[kind].append(len(sizes))
        sizes.append(size)
    layout = Layout(tuple(sizes), tuple(kinds["stack"]), tuple(kinds["in"]), tuple(kinds["out"]))
    if not layout.fan_in or not layout.fan_out or math.prod(sizes) == 0:
        return None
    return layout


def groups_of(plan: Plan, params: Any) -> tuple[Group, ...]:
    """Returns the matrices among some parameters of a plan, those of equal layout and dtype together.

    Args:
      plan: of the model.
      params: a tree of arrays or shapes with any subset of the plan's paths.

    Raises:
      PlanError: a path or a shape is not the plan's; copies of unknown number; complex numbers; one name for two.
    """
    plan.check(params)
    found: defaultdict[tuple[Layout, str], list[str]] = defaultdict(list)
    for path, leaf in named_leaves(params).items():
        layout = layout_of(plan[path])
        if layout is None:
            continue
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise PlanError(
                f"{path} is {leaf.dtype}: singular values are computed of real matrices only. Leave it out of the tree "
                "that is observed (optax.masked does, for track_spectrum)"
            )
        found[layout, str(leaf.dtype)].append(path)
    _check_names([(path, layout) for (layout, _), paths in found.items() for path in paths])
    return tuple(Group(tuple(paths), layout) for (layout, _), paths in found.items())


def _check_names(matrices: list[tuple[str, Layout]]) -> None:
    """Copy i of a stack `path` is reported as `path[i]`, which no other parameter may be called."""
    paths = {path for path, _ in matrices}
    for path, layout in matrices:
        for copy in range(layout.count if layout.copies else 0):
            if (name := f"{path}[{copy}]") in paths:
                raise PlanError(
                    f"{name} is a parameter, and copy {copy} of the stack {path} is reported under the same name; "
                    "rename one of the two"
                )
