"""What is said of a use: words for axes, a line for people, an error with the override to write."""

from __future__ import annotations

from collections.abc import Sequence

from mupwd.paths import pattern_of
from mupwd.tracing.errors import TraceError
from mupwd.tracing.values import Record, Use

_ORDER = ("stack", "lookup", "in", "out", "elementwise")


def axis_words(ndim: int, key: object, use: Use, record: Record) -> tuple[str, ...]:
    """What each axis of a parameter does in one use."""
    labels: list[set[str]] = [set() for _ in range(ndim)]
    contracted = any(m.label == "in" and m.size != (1, 1) for m in use.marks)
    kept = any(m.label == "out" and m.size != (1, 1) for m in use.marks)
    for mark in use.marks:
        label: str = mark.label
        if label == "batch":
            label = "elementwise" if mark.grows or not (contracted or kept) else "stack"
        elif label == "lookup" and contracted and kept:
            label = "stack"  # kernels that are chosen, as experts are
        labels[mark.axis].add(label)
    outs = [i for i, found in enumerate(labels) if "out" in found]
    for (owner, axis, whole), parts in record.slices.items():
        if owner != key or len(parts) != 1 or 0 in parts or parts == {1}:
            continue
        mark = next((m for m in use.marks if m.axis == axis and m.label == "out"), None)
        if mark is not None and whole and not mark.grows:
            labels[axis] = {"stack"}
        elif mark is not None and outs == [axis]:
            labels[axis].add("stack")
    growing_out = [m.axis for m in use.marks if m.label == "out" and m.grows]
    growing_in = [m.axis for m in use.marks if m.label == "in"]
    for axis in range(ndim):  # a leading axis of copies that the product only enumerates
        mark = next((m for m in use.marks if m.axis == axis and m.label == "out"), None)
        before_all = growing_out and growing_in and axis < min(growing_in) and axis < min(growing_out)
        if mark is not None and not mark.grows and before_all:
            labels[axis] = {"stack"}
    for axis, found in enumerate(labels):  # an axis of size 1 says nothing beside one that has a size
        sized = {m.label for m in use.marks if m.axis == axis and m.size != (1, 1)}
        trivial = {m.label for m in use.marks if m.axis == axis} - sized
        if sized:
            found -= trivial
    filler = "stack" if contracted or kept else "elementwise"
    return tuple("+".join(w for w in _ORDER if w in found) or filler for found in labels)


def axis_pieces(words: Sequence[str], key: object, use: Use, record: Record) -> tuple[int, ...]:
    """Into how many equal contiguous copies each axis is cut that is a stack and something else as well."""

    def pieces(axis: int) -> int:
        if words[axis] == "stack" or "stack" not in words[axis].split("+"):
            return 1
        groups = [m.size[0] for m in use.marks if m.axis == axis and m.label == "batch"]
        cuts = [
            next(iter(parts))
            for (owner, cut, _), parts in record.slices.items()
            if owner == key and cut == axis and len(parts) == 1
        ]
        return (groups or cuts or [1])[0]

    return tuple(map(pieces, range(len(words))))


def described(use: Use, axes: Sequence[str]) -> str:
    """One line for people: "dot_general: in, out at model.py:31"."""
    words = ", ".join(axes) if axes else "scalar"
    return f"{use.primitive}: {words} at {use.source}"


def refusal(path: str, reason: str, use: Use, ndim: int) -> TraceError:
    """The error for a parameter that is not decided, with the override to write."""
    statement = {0: "scalar:", 1: "vector: elementwise"}.get(
        ndim, "matrix:" + " stack" * (ndim - 2) + " in out"
    )
    return TraceError(
        f"{path}: {reason}. Met in {use.primitive} at {use.source}. State what it is, for example "
        f"overrides={{{pattern_of(path)!r}: {statement!r}}}: a role (matrix, input, output, narrow, wide, vector, "
        f"scalar) and one word for each of its {ndim} axes (in, out, stack, lookup, elementwise)"
    )
