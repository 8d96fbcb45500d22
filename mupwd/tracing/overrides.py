"""What a user states about parameters, where the program cannot say it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, get_args

from mupwd.tracing.decide import Shapes
from mupwd.tracing.errors import TraceError
from mupwd.tracing.roles import AXIS_WORDS, Parameter, Role
from mupwd.tracing.values import grows

# "stack3+out": three equal copies behind each other along one axis, as in a fused qkv kernel.
_COPIES = re.compile(r"stack(\d+)(?=\+)")


def stated_parameters(overrides: Mapping[str, Any], shapes: Mapping[str, Shapes]) -> dict[str, Parameter]:
    """Returns the parameters that the overrides claim.

    Args:
      overrides: `{pattern: statement}`. A pattern is a regular expression that matches a whole path. A
        statement is `"role: word word …"` with one word per axis, the words alone where they and the growth
        of the axes decide the role, or an `optax.contrib.MuonDimensionNumbers`.
      shapes: sizes of all parameters at the two widths.

    Raises:
      TraceError: a pattern matches nothing, two patterns claim one parameter, or a statement does not fit.
    """
    result: dict[str, Parameter] = {}
    owner: dict[str, str] = {}
    for pattern, statement in overrides.items():
        try:
            matcher = re.compile(pattern)
        except re.error as error:
            raise TraceError(f"override {pattern!r} is not a regular expression: {error}") from None
        matched = [path for path in shapes if matcher.fullmatch(path)]
        if not matched:
            near = difflib.get_close_matches(pattern, shapes, n=1, cutoff=0.0)
            raise TraceError(
                f"override {pattern!r} matches no parameter (a pattern must match the whole path); the nearest "
                f"path is {near[0]!r}"
            )
        for path in matched:
            if path in owner:
                raise TraceError(
                    f"{path}: two overrides claim it, {owner[path]!r} and {pattern!r}; narrow one of them"
                )
            owner[path] = pattern
            result[path] = stated_parameter(path, shapes[path], statement)
    return result


def parameter_from_axes(
    path: str, shape: Shapes, words: tuple[str, ...], role: Role | None = None
) -> Parameter:
    """A parameter from what its axes do, where no program was read."""
    axes = tuple(_COPIES.sub("stack", word) for word in words)
    base = tuple(size[0] for size in shape.dims)
    growing = tuple(map(grows, shape.dims))
    return Parameter(
        path,
        role or _role_of(path, axes, growing),
        base,
        shape.dtype,
        axes,
        growing,
        uses=("stated: " + (", ".join(axes) or "scalar"),),
        pieces=_pieces(path, shape, words),
    )


def _pieces(path: str, shape: Shapes, words: tuple[str, ...]) -> tuple[int, ...]:
    pieces = []
    for axis, (word, sizes) in enumerate(zip(words, shape.dims, strict=True)):
        found = _COPIES.match(word)
        both = "stack" in word.split("+") and word != "stack"
        pieces.append(int(found[1]) if found else 0 if both else 1)
        if found and (pieces[-1] < 1 or any(size % pieces[-1] for size in sizes)):
            raise TraceError(
                f"{path}, axis {axis}: {word!r} states {found[1]} equal copies, but the axis has {sizes[0]} and "
                f"{sizes[1]} elements at the two widths"
            )
    return tuple(pieces) if any(n != 1 for n in pieces) else ()


def words_of(path: str, shape: Shapes, statement: Any) -> tuple[Role | None, tuple[str, ...]]:
    """Returns the role that a statement names, if it does, and its words, one per axis.

    Raises:
      TraceError: it cannot be read, or has another number of axes than the parameter.
    """
    role: Role | None = None
    if isinstance(statement, str):
        head, colon, tail = statement.partition(":")
        if colon:
            role = _known_role(path, head.strip())
        words = tuple((tail if colon else head).replace(",", " ").split())
    elif hasattr(statement, "reduction_axis") and hasattr(statement, "output_axis"):
        words = _muon_words(statement, len(shape.dims))
    else:
        raise TraceError(
            f"{path}: an override is a string such as 'matrix: in out', or a MuonDimensionNumbers; found "
            f"{statement!r}"
        )
    if len(words) != len(shape.dims):
        raise TraceError(
            f"{path}: the override has {len(words)} words for axes ({' '.join(words) or 'none'}), but the parameter "
            f"has {len(shape.dims)} axes of sizes {tuple(s[0] for s in shape.dims)}; write one word per axis"
        )
    for word in words:
        unknown = [part for part in _COPIES.sub("stack", word).split("+") if part not in AXIS_WORDS]
        if unknown:
            near = difflib.get_close_matches(unknown[0], AXIS_WORDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TraceError(
                f"{path}: {unknown[0]!r} is not a word for an axis ({', '.join(AXIS_WORDS)}){hint}"
            )
    return role, words


def stated_parameter(path: str, shape: Shapes, statement: Any) -> Parameter:
    """Returns the parameter that one statement describes; raises TraceError where it does not decide the role."""
    role, words = words_of(path, shape, statement)
    return parameter_from_axes(path, shape, words, role)


def _known_role(path: str, name: str) -> Role:
    for role in get_args(Role):
        if role == name:
            return role
    near = difflib.get_close_matches(name, get_args(Role), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise TraceError(f"{path}: {name!r} is not a role ({', '.join(get_args(Role))}){hint}")


def _muon_words(numbers: Any, ndim: int) -> tuple[str, ...]:
    def axes(value: Any) -> set[int]:
        return {i % ndim for i in (value if isinstance(value, tuple | list) else (value,))}

    sums, keeps = axes(numbers.reduction_axis), axes(numbers.output_axis)
    return tuple("in" if i in sums else "out" if i in keeps else "stack" for i in range(ndim))


def _role_of(path: str, axes: tuple[str, ...], growing: tuple[bool, ...]) -> Role:
    found = {word for axis, g in zip(axes, growing, strict=True) if g for word in axis.split("+")}
    if not found:
        return "scalar"
    if found & {"stack", "lookup"} - ({"stack"} if found & {"in", "out"} else set()):
        raise TraceError(
            f"{path}: an axis that enumerates or is indexed ({', '.join(axes)}) grows; state the role as well, for "
            "example 'matrix: …'"
        )
    if {"in", "out"} <= found:
        return "matrix"
    if "in" in found:
        raise TraceError(
            f"{path}: only its in axis grows, so it is an output (the readout) or narrow (inside the network: a kv "
            f"kernel, a router, a low-rank down); state which, for example 'narrow: {' '.join(axes)}'"
        )
    if "out" in found:
        return "input" if any("lookup" in axis for axis in axes) else "wide"
    return "vector"
