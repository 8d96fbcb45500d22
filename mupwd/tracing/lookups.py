"""Indexing: gathers and dynamic slices of parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mupwd.tracing.uses import Site, activation, settle
from mupwd.tracing.values import Label, Mark, Size, Tag, Value, anonymous, resized


def gather(
    site: Site,
    operand: Value,
    indices: Value,
    numbers: Any,
    slice_sizes: tuple[Size, ...],
    dims: tuple[Size, ...],
) -> Value:
    """Rows that are chosen by `indices`; a parameter's rows stay its own until they are used."""
    indices = settle(site, indices)
    if operand.pending:
        operand = settle(site, operand)
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = [i for i in range(len(operand.dims)) if i not in dropped]
    place = dict(zip(numbers.offset_dims, kept, strict=True))
    index_axes = iter(range(len(indices.dims) - 1))
    tags = [
        (operand.tag(place[i]) if operand.data else Tag()) if i in place else indices.tag(next(index_axes))
        for i in range(len(dims))
    ]
    if not operand.terms:
        result = activation([operand, indices], dims)
        return replace(result, tags=tuple(tags) if result.data else ())

    indexed = set(numbers.start_index_map) | set(numbers.operand_batching_dims)
    # An axis of which one entry is taken is gone, whether it is dropped or kept with a size of 1.
    taken = [i for i in indexed if i in dropped or (slice_sizes[i] == (1, 1) != operand.dims[i])]
    # One row at a constant index, as a loop over layers takes it: a stack. Many rows: a table.
    label: Label = "lookup" if indices.data or len(dims) > len(numbers.offset_dims) else "stack"
    terms = []
    for term in operand.terms:
        marks = [Mark(a.axis, label, a.size) for i in taken for a in term.axes[i] if a.axis is not None]
        axes = tuple(
            ()
            if place.get(i) in taken
            else resized(term.axes[place[i]], operand.dims[place[i]], slice_sizes[place[i]])
            if i in place
            else anonymous(dims[i])
            for i in range(len(dims))
        )
        terms.append(replace(term, axes=axes, marks=(*term.marks, *marks)))
        _note_layer(site, term.param, marks)
    if indices.data:
        return Value(
            dims,
            tuple(terms),
            data=True,
            pending="lookup",
            group=site,
            grown=indices.grown,
            tags=tuple(tags),
        )
    return Value(dims, tuple(terms))


def dynamic_slice(site: Site, operand: Value, starts: list[Value], dims: tuple[Size, ...]) -> Value:
    """A window at traced positions; of size 1 along an axis, it is an index."""
    if operand.pending:
        operand = settle(site, operand)
    by_data = any(start.data for start in starts)
    if not operand.terms:
        tags = tuple(
            operand.tag(i) if old == new else operand.tag(i)._replace(copies=())
            for i, (old, new) in enumerate(zip(operand.dims, dims, strict=True))
        )
        return replace(operand, dims=dims, tags=tags if operand.data else (), constant=None)
    label: Label = "lookup" if by_data else "stack"
    terms = []
    for term in operand.terms:
        axes, marks = list(term.axes), []
        for i, (old, new) in enumerate(zip(operand.dims, dims, strict=True)):
            if old != new and new == (1, 1):
                marks += [Mark(a.axis, label, a.size) for a in term.axes[i] if a.axis is not None]
                axes[i] = ()
            else:
                axes[i] = resized(term.axes[i], old, new)
        terms.append(replace(term, axes=tuple(axes), marks=(*term.marks, *marks)))
        _note_layer(site, term.param, marks)
    if by_data:
        return Value(dims, tuple(terms), data=True, pending="lookup", group=site, tags=(Tag(),) * len(dims))
    return replace(operand, dims=dims, terms=tuple(terms))


def _note_layer(site: Site, param: int, marks: list[Mark]) -> None:
    """In a loop over indices each step has an entry of its own."""
    if site.record.loop is not None and any(mark.label == "stack" for mark in marks):
        site.record.layers.add((site.record.loop, param))
