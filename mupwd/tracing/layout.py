"""Axes through operations that only move, split, merge, repeat or cut them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mupwd.tracing.values import (
    Atom,
    Mark,
    Record,
    Size,
    Tag,
    Term,
    Value,
    anonymous,
    grows,
    product,
    resized,
)


def transpose(value: Value, permutation: Sequence[int], dims: tuple[Size, ...]) -> Value:
    return _rearranged(
        value,
        dims,
        terms=lambda term: tuple(term.axes[i] for i in permutation),
        tags=tuple(value.tag(i) for i in permutation),
    )


def broadcast(value: Value, positions: Sequence[int], dims: tuple[Size, ...]) -> Value:
    """`positions[i]` is where axis i goes; all other axes are new, as is an axis of size 1 that is repeated."""
    source = {new: old for old, new in enumerate(positions)}

    def kept(axis: int) -> bool:
        return axis in source and value.dims[source[axis]] == dims[axis]

    return _rearranged(
        value,
        dims,
        terms=lambda term: tuple(
            term.axes[source[i]] if kept(i) else anonymous(size) for i, size in enumerate(dims)
        ),
        tags=tuple(value.tag(source[i]) if kept(i) else Tag(uniform=True) for i in range(len(dims))),
    )


def unstack(value: Value, axis: int, dims: tuple[Size, ...], record: Record) -> Value:
    """One of the entries along an axis, without the axis."""
    return reshape(cut(value, (*dims[:axis], (1, 1), *dims[axis:]), record), dims)


def expand(value: Value, axis: int) -> Value:
    """The value with a new axis of size 1."""
    return reshape(value, (*value.dims[:axis], (1, 1), *value.dims[axis:]))


def tile(value: Value, dims: tuple[Size, ...]) -> Value:
    """Copies put behind each other along an axis."""

    def repeated(atoms: tuple[Atom, ...], old: Size, new: Size) -> tuple[Atom, ...]:
        return (*anonymous((new[0] // old[0], new[1] // old[1])), *atoms)

    return _rearranged(
        value,
        dims,
        terms=lambda term: tuple(map(repeated, term.axes, value.dims, dims)),
        tags=tuple(value.tag(i)._replace(copies=()) for i in range(len(dims))),
    )


def cut(value: Value, dims: tuple[Size, ...], record: Record) -> Value:
    """Slices with static bounds; an axis may keep its size."""
    for axis, (old, new) in enumerate(zip(value.dims, dims, strict=True)):
        if old == new or 0 in new:  # an empty part is no copy of anything
            continue
        for use, parameter_axis, whole in value.tag(axis).copies:
            # Copies are told by equal parts: of size 1 on a fixed axis (rotary halves are larger), of an
            # equal share at both widths on one that grows.
            equal = old[0] * new[1] == old[1] * new[0] and old[0] % new[0] == 0
            copies = old[0] // new[0] if equal and (grows(old) or new == (1, 1)) else 0
            record.slices.setdefault((use, parameter_axis, whole), set()).add(copies)

    def moved(term: Term) -> Term:
        axes, marks = list(term.axes), []
        for i, (old, new) in enumerate(zip(value.dims, dims, strict=True)):
            if old != new and new == (1, 1):
                marks += [Mark(a.axis, "stack", a.size) for a in term.axes[i] if a.axis is not None]
                axes[i] = ()
            elif old != new:
                axes[i] = resized(term.axes[i], old, new)
        return replace(term, axes=tuple(axes), marks=term.marks + tuple(marks))

    tags = tuple(
        value.tag(i) if old == new else value.tag(i)._replace(copies=())
        for i, (old, new) in enumerate(zip(value.dims, dims, strict=True))
    )
    return replace(value, dims=dims, terms=tuple(map(moved, value.terms)), tags=tags)


def reshape(value: Value, dims: tuple[Size, ...]) -> Value:
    groups = _groups(value.dims, dims)
    tags: list[Tag] = [Tag(uniform=True)] * len(dims)
    for old, new in groups:
        for position, axis in enumerate(new):
            tags[axis] = _reshaped_tag([value.tag(i) for i in old], position, len(new), dims[axis])

    def moved(term: Term) -> tuple[tuple[Atom, ...], ...]:
        axes: list[tuple[Atom, ...]] = [()] * len(dims)
        for old, new in groups:
            atoms = [atom for i in old for atom in term.axes[i]]
            for axis, part in zip(new, _dealt(atoms, [dims[i] for i in new]), strict=True):
                axes[axis] = part
        return tuple(axes)

    return _rearranged(value, dims, terms=moved, tags=tuple(tags))


def gathered(value: Value, dims: tuple[Size, ...]) -> Value:
    """Shards of an axis put together again."""

    def axes(term: Term) -> tuple[tuple[Atom, ...], ...]:
        return tuple(
            resized(atoms, old, new) for atoms, old, new in zip(term.axes, value.dims, dims, strict=True)
        )

    return _rearranged(value, dims, terms=axes, tags=tuple(value.tag(i) for i in range(len(dims))))


def _rearranged(value, dims, *, terms, tags) -> Value:
    return replace(
        value,
        dims=dims,
        terms=tuple(replace(term, axes=terms(term)) for term in value.terms),
        tags=tags if value.data else (),
    )


def _groups(old: tuple[Size, ...], new: tuple[Size, ...]) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of old and new axes, those of size 1 aside, with equal products at both widths."""
    left_over = [i for i, size in enumerate(old) if size != (1, 1)]
    right_over = [j for j, size in enumerate(new) if size != (1, 1)]
    groups = []
    while left_over and right_over:
        left, right = [left_over.pop(0)], [right_over.pop(0)]
        while (have := product(old[i] for i in left)) != (want := product(new[j] for j in right)):
            if left_over and (have[0] <= want[0] or not right_over):
                left.append(left_over.pop(0))
            elif right_over:
                right.append(right_over.pop(0))
            else:
                break
        groups.append((left, right))
    return groups


def _dealt(atoms: list[Atom], sizes: list[Size]) -> list[tuple[Atom, ...]]:
    """Deals atoms, split where needed, to the new axes; where they do not divide, every axis gets all of them.

    An axis that is labelled in two ways because of that is refused where the role is decided.
    """
    if product(a.size for a in atoms) != product(sizes):
        return [tuple(atoms)] * len(sizes)
    rest, dealt = list(atoms), []
    for size in sizes:
        part: list[Atom] = []
        need = size
        while need != (1, 1):
            if not rest:
                return [tuple(atoms)] * len(sizes)
            atom = rest.pop(0)
            if _divides(atom.size, need):
                part.append(atom)
                need = (need[0] // atom.size[0], need[1] // atom.size[1])
            elif _divides(need, atom.size):
                part.append(atom._replace(size=need))
                rest.insert(0, atom._replace(size=(atom.size[0] // need[0], atom.size[1] // need[1])))
                need = (1, 1)
            else:
                return [tuple(atoms)] * len(sizes)
        dealt.append(tuple(part))
    return dealt


def _divides(a: Size, b: Size) -> bool:
    return b[0] % a[0] == 0 and b[1] % a[1] == 0


def _reshaped_tag(old: list[Tag], position: int, count: int, size: Size) -> Tag:
    copies = ()
    if len(old) == 1 and count == 1:
        copies = old[0].copies
    elif len(old) == 1 and position == 0 and not grows(size):
        copies = tuple((use, axis, False) for use, axis, _ in old[0].copies)
    return Tag(all(t.uniform for t in old), any(t.sample for t in old), any(t.bilinear for t in old), copies)
