"""Loops and branches: what is known of values that a program carries around or chooses between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mupwd.tracing.constants import differs
from mupwd.tracing.elementwise import elementwise
from mupwd.tracing.jaxprs import body_of, scan_counts
from mupwd.tracing.uses import Site, meet, settle
from mupwd.tracing.values import Location, Mark, Record, Size, Tag, Value, anonymous, grows

# run(jaxpr, the same at the second width, its inputs, its location, record) -> its results
Run = Callable[[Any, Any, Sequence[Value], Location, Record], list[Value]]


def scan(
    run: Run, eqn: Any, delta: Any, values: list[Value], dims: list[tuple[Size, ...]], site: Site
) -> list[Value]:
    """The body sees rows of what is stacked, and a carry that is the same before and after it."""
    consts, carried = scan_counts(eqn)
    lengths = (eqn.params["length"], delta.params["length"])
    body = (body_of(eqn), body_of(delta))
    fixed, carry, stacked = values[:consts], values[consts : consts + carried], values[consts + carried :]
    rows = [_row(v) for v in stacked]
    own = [t.param for v in stacked for t in v.terms if any(a.axis is not None for a in t.axes[0])]
    site.record.layers.update((site.location, param) for param in own)

    def step(carry: list[Value], record: Record) -> list[Value]:
        return run(*body, [*fixed, *carry, *rows], site.location, record)

    carry, results = _until_stable(carry, step, site, consts)
    stacks = [_stack(v, lengths) for v in results[carried:]]
    return [replace(v, dims=d) for v, d in zip([*carry, *stacks], dims, strict=True)]


def while_loop(run: Run, eqn: Any, delta: Any, values: list[Value], site: Site) -> list[Value]:
    n_cond, n_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    cond = (eqn.params["cond_jaxpr"], delta.params["cond_jaxpr"])
    body = (eqn.params["body_jaxpr"], delta.params["body_jaxpr"])
    cond_consts, body_consts = values[:n_cond], values[n_cond : n_cond + n_body]

    def step(carry: list[Value], record: Record) -> list[Value]:
        run(*cond, [*cond_consts, *carry], (*site.location, "cond"), record)
        return run(*body, [*body_consts, *carry], site.location, record)

    return _until_stable(values[n_cond + n_body :], step, site, n_cond + n_body)[0]


def cond(
    run: Run, eqn: Any, delta: Any, values: list[Value], dims: list[tuple[Size, ...]], site: Site
) -> list[Value]:
    branches = zip(eqn.params["branches"], delta.params["branches"], strict=True)
    outcomes = [
        run(*branch, values[1:], (*site.location, i), site.record) for i, branch in enumerate(branches)
    ]
    merged = []
    for position, alternatives in enumerate(zip(*outcomes, strict=True)):
        at = replace(site, location=(*site.location, "out", position))
        merged.append(elementwise(at, "cond", list(alternatives), dims[position], alone=True))
    return merged


def _until_stable(
    carry: list[Value], step: Callable[[list[Value], Record], list[Value]], site: Site, first: int
) -> tuple[list[Value], list[Value]]:
    """Repeats a loop's body until what is known of the carried values no longer changes.

    `first`: which of the loop's operands is the first carried one.
    """
    while True:
        scratch = Record(outer=site.record, loop=site.location)
        results = step(carry, scratch)
        merged = [
            _either(replace(site, location=(*site.location, "carry", i), record=scratch), a, b)
            for i, (a, b) in enumerate(zip(carry, results, strict=False))
        ]
        if merged == carry:
            site.record.absorb(scratch)
            return carry, results
        for i, (old, new) in enumerate(zip(carry, merged, strict=True)):
            if old.terms and not new.terms:  # an initial state: it joins the activations
                if old.pending:
                    settle(site, old)
                else:
                    meet(site, old, "join", new, first + i)
        carry = merged


def _row(value: Value) -> Value:
    """What a scan's body sees of one of its stacked operands."""
    terms = []
    for term in value.terms:
        marks = [Mark(a.axis, "stack", a.size) for a in term.axes[0] if a.axis is not None]
        terms.append(replace(term, axes=term.axes[1:]).marked(*marks))
    return replace(value, dims=value.dims[1:], terms=tuple(terms), tags=value.tags[1:], constant=None)


def _stack(value: Value, lengths: Size) -> Value:
    dims = (lengths, *value.dims)
    terms = tuple(replace(t, axes=(anonymous(lengths), *t.axes)) for t in value.terms)
    tags = (Tag(), *value.tags) if value.tags else ()
    return replace(value, dims=dims, terms=terms, tags=tags, constant=None)


def _either(site: Site, before: Value, after: Value) -> Value:
    """What holds for a loop's carried value both before and after its body."""
    if before.terms or after.terms:
        if before.terms == after.terms and before.pending == after.pending and before.data == after.data:
            return before
        before, after = settle(site, before), settle(site, after)
        before, after = before.settled(), after.settled()
        before = replace(before, data=True)
    tags = tuple(
        Tag(before.tag(i).uniform and after.tag(i).uniform, before.tag(i).sample or after.tag(i).sample)
        for i in range(len(before.dims))
    )
    data = before.data or after.data
    constants = (before.constant, after.constant)
    same = not differs(before.constant) and before.constant == after.constant
    return Value(
        before.dims,
        data=data,
        origins=before.origins | after.origins,
        grown=before.grown or after.grown or (data and any(map(grows, before.dims))),
        reduced=before.reduced and after.reduced,
        tags=tags if data else (),
        constant=before.constant if same and not data else None,
        varies=not data and (before.varies or after.varies or (not same and any(map(differs, constants)))),
    )
