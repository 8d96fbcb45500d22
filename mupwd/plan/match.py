"""Does a target fit the family? Which base parameter does each of its parameters follow?"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from mupwd.plan.errors import PlanError
from mupwd.plan.layers import containers, indices, shown
from mupwd.tracing.roles import Parameter

_REBUILD = "make base and target from one build function"
# In what layers must agree for a new one to follow them.
_ALIKE = tuple(
    f.name for f in dataclasses.fields(Parameter) if f.name not in ("path", "dtype", "uses", "unfoldable")
)


def match(
    base: Mapping[str, Parameter],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    depth_ratio: float,
    sequence_ratio: float = 1.0,
) -> dict[str, Parameter]:
    """Returns, for every path of the target, the parameter of the base that it follows, under its new path.

    A target may differ from the base along axes that grow; where `depth_ratio` is given, also in how many
    layers there are, whether they are numbered in the paths or stacked along an axis.

    Args:
      base: the family's parameters.
      shapes: the target's shapes.
      depth_ratio: number of layers, target / base; 1 where depth does not differ.
      sequence_ratio: sequence length, target / base, by which tables of positions may differ.

    Raises:
      PlanError: names the first parameter, axis and sizes that do not fit.
    """
    resized = _resized_containers(base, shapes)
    for container, (old, new) in resized.items():
        _check_depth(f"{container}*", old, new, depth_ratio)
    followed = _followed(base, shapes, set(resized))
    for path, parameter in followed.items():
        _check_shape(parameter, tuple(shapes[path]), depth_ratio, sequence_ratio)
    stacks = any(
        size != shapes[path][axis] for path, p in followed.items() for axis, size in _layer_axes(p).items()
    )
    if depth_ratio != 1 and not resized and not stacks and _shows_layers(base):
        raise PlanError(
            f"depth_ratio={depth_ratio:g}, but the target has as many layers as the base; build the target "
            "with its own depth, or leave depth_ratio out"
        )
    return followed


def _resized_containers(base: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    old, new = containers(base), containers(target)
    return {
        name: (len(numbers), len(new[name]))
        for name, numbers in old.items()
        if name in new and len(new[name]) != len(numbers)
    }


def _followed(
    base: Mapping[str, Parameter], shapes: Mapping[str, tuple[int, ...]], resized: set[str]
) -> dict[str, Parameter]:
    siblings: defaultdict[tuple[str, str], list[Parameter]] = defaultdict(list)
    for path, parameter in base.items():
        for index in indices(path):
            if index.container in resized:
                siblings[index.container, index.rest].append(parameter)

    rules: dict[tuple[str, str], Parameter] = {}
    followed: dict[str, Parameter] = {}
    extra: list[str] = []
    for path in shapes:
        if path in base:
            followed[path] = base[path]
            continue
        keys = [(i.container, i.rest) for i in indices(path) if (i.container, i.rest) in siblings]
        if not keys:
            extra.append(path)
            continue
        for key in keys:
            if key not in rules:
                rules[key] = _the_one_rule(path, siblings[key])
        followed[path] = dataclasses.replace(_the_one_rule(path, [rules[key] for key in keys]), path=path)
    if extra:
        raise PlanError(
            f"{len(extra)} parameter(s) of the target are not in the family: {_some(extra)}; {_REBUILD}"
        )
    missing = [
        path
        for path in base
        if path not in shapes and not any(index.container in resized for index in indices(path))
    ]
    if missing:
        raise PlanError(
            f"{len(missing)} parameter(s) of the family are missing at the target: {_some(missing)}; "
            f"{_REBUILD}"
        )
    return followed


def _the_one_rule(path: str, like: list[Parameter]) -> Parameter:
    first = like[0]
    for other in like[1:]:
        for field in _ALIKE:
            mine, its = getattr(first, field), getattr(other, field)
            if mine != its:
                raise PlanError(
                    f"{path} is in a layer that the base does not have, and the base's layers differ: "
                    f"{field} is {mine} in {first.path} and {its} in {other.path}; use a base whose layers "
                    "repeat as the target's do"
                )
    # Of layers that are all alike one is enough to keep a factor out.
    return dataclasses.replace(first, unfoldable=next((one.unfoldable for one in like if one.unfoldable), ""))


def _check_shape(
    parameter: Parameter, shape: tuple[int, ...], depth_ratio: float, sequence_ratio: float
) -> None:
    if len(shape) != len(parameter.shape):
        raise PlanError(
            f"{parameter.path} has {len(parameter.shape)} axes at base {parameter.shape} and {len(shape)} at "
            f"the target {shape}; a width changes sizes, never ranks: {_REBUILD}"
        )
    layers = _layer_axes(parameter)
    for axis, (old, new) in enumerate(zip(parameter.shape, shape, strict=True)):
        if new < 1 and old >= 1:
            raise PlanError(
                f"{parameter.path} has {new} elements along axis {axis} at the target {shape}, and {old} at base; "
                "expected 1 or more: give the target a larger width"
            )
        if old < 1 and new >= 1 and parameter.growing[axis]:
            raise PlanError(
                f"{parameter.path}, axis {axis}: 0 elements at base and {new} at the target have no ratio; take a "
                "larger base"
            )
        if old == new or parameter.growing[axis]:
            continue
        if axis in layers:
            _check_depth(f"{parameter.path}, axis {axis}", old, new, depth_ratio)
            continue
        if sequence_ratio != 1 and parameter.role == "input" and new == round(old * sequence_ratio, 9):
            continue  # a table of positions
        if "lookup" in parameter.axes[axis] or (parameter.role == "output" and axis in parameter.out_axes):
            raise PlanError(
                f"{parameter.path}, axis {axis} ({parameter.axes[axis]}): {old} at base and {new} at the target. "
                "Another vocabulary (or number of classes) is another axis than width, and no rule here carries "
                f"hyperparameters across it: build the base with {new} as well, and tune that one; or pad both to one "
                f"size. If these are positions, not tokens, give sequence_ratio={new / old:g}"
            )
        raise PlanError(
            f"{parameter.path}, axis {axis} ({parameter.axes[axis]}): {old} at base and {new} at the target, "
            "but this axis does not grow with the family's width. Another head count is not a width: build base and "
            "target with the same, or, if it should grow, build a family in which it does. If it is the sequence "
            f"length, of a table of positions, give sequence_ratio={new / old:g}"
        )


def _layer_axes(parameter: Parameter) -> dict[int, int]:
    """The axes that may be a stack of layers, with their sizes."""
    return {
        axis: parameter.shape[axis]
        for axis, word in enumerate(parameter.axes)
        if word == "stack" and not parameter.growing[axis]
    }


def _check_depth(where: str, old: int, new: int, depth_ratio: float) -> None:
    if depth_ratio == 1:
        raise PlanError(
            f"{where}: {old} layers (or copies) at base and {new} at the target; if this is depth, give "
            f"depth_ratio={new / old:g}, else build both with the same number"
        )
    if new != round(old * depth_ratio, 9):
        raise PlanError(
            f"{where}: {old} layers (or copies) at base and {new} at the target, a ratio of "
            f"{new / old:g}, but depth_ratio={depth_ratio:g}"
        )


def _shows_layers(base: Mapping[str, Parameter]) -> bool:
    """Whether a depth can be read off the parameters at all; one block that is looped over shows none."""
    repeated = {name for name, numbers in containers(base).items() if len(numbers) > 1}
    inside = [p for p in base.values() if p.residual]
    return bool(inside) and all(
        _layer_axes(p) or any(index.container in repeated for index in indices(p.path)) for p in inside
    )


def _some(paths: list[str]) -> str:
    return ", ".join(map(shown, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
