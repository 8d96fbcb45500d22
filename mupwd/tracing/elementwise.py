"""Elementwise operations: parameters joined with parameters, multiplied into or added to activations."""

from __future__ import annotations

from dataclasses import replace

from mupwd.tracing.constants import differs
from mupwd.tracing.operations import ADDITIVE, LINEAR, OTHER, PRODUCTS
from mupwd.tracing.uses import Site, meet, settle
from mupwd.tracing.values import Size, Tag, Term, Value, anonymous


def elementwise(site: Site, op: str, values: list[Value], dims: tuple[Size, ...], alone: bool) -> Value:
    """`alone`: no other equation reads the operands, so that a constant scales every path of a use."""
    square = op == "mul" and values[0] is values[1]
    values = [_stretched(v, dims) for v in values]
    constants = [v for v in values if not v.data and not v.terms]
    operands = [v for v in values if v.data or v.terms]

    if op == "complex" and len(operands) == 2:
        op = "add"
    linear = op in LINEAR or (op in PRODUCTS and len(operands) == 1 and operands[0] is values[0])
    linear = linear or (op == "mul" and len(operands) == 1)
    changing = [v for v in constants if v.varies or differs(v.constant)]
    ratio = 1.0
    for constant in changing:
        if linear and constant.constant and constant.constant[0] and constant.constant[1]:
            factor = constant.constant[1] / constant.constant[0]
            ratio *= 1 / factor if op == "div" else factor
        else:
            _unexplained(site, operands, constant)
            values = [_spoilt(site, v) if v.parametric else v for v in values]
    operands = [v for v in values if v.data or v.terms]
    if linear:
        if op in PRODUCTS and operands[0].product is not None:
            site.record.multiples[operands[0].product] = site.location
        return replace(_scaled(site, operands[0], ratio, alone), dims=dims, constant=None)

    parametric = [v for v in operands if v.parametric]
    activations = [v for v in operands if v.data]
    if not activations:
        return Value(dims, _joined(site, op, parametric))
    site = replace(site, operands=tuple(i for i, v in enumerate(values) if v.parametric))
    pending = [v for v in activations if v.pending]
    if not parametric and len(pending) == 1 and _still_linear(op, values, pending[0], activations):
        return _still_pending(_result(op, replace(pending[0], dims=dims), activations, square=square))
    by_data = op == "select_n" and values[0].data and len(activations) == 1
    activations = [settle(site, v) for v in activations]
    result = _result(op, Value(dims, data=True), activations, square=square)
    if op in ADDITIVE and all(v.tail for v in activations):
        result = replace(result, tail=frozenset().union(*(v.tail for v in activations)))
    if not parametric:
        only_constants = len(activations) == 1
        return replace(result, reduced=only_constants and activations[0].reduced)
    terms = _joined(site, op, parametric)
    if by_data or op in PRODUCTS:
        terms = tuple(_freed(term, result.tags) for term in terms)
        return replace(result, terms=terms, pending="product", group=site)
    kind = "sum" if op in ADDITIVE else "join" if op in ("select_n", "cond") else "product"
    keys = meet(site, Value(dims, terms), kind, result)
    return replace(result, tail=result.tail | frozenset(keys) if result.tail else result.tail)


def _stretched(value: Value, dims: tuple[Size, ...]) -> Value:
    """A scalar operand, or one with axes of size 1, as the array that it stands for."""
    if value.dims == dims:
        return value
    whole = value.dims or ((1, 1),) * len(dims)
    kept = [old == new for old, new in zip(whole, dims, strict=True)]
    terms = tuple(
        replace(t, axes=tuple(t.axes[i] if kept[i] else anonymous(size) for i, size in enumerate(dims)))
        for t in value.terms
    )
    tags = tuple(value.tag(i) if kept[i] and value.dims else Tag(uniform=True) for i in range(len(dims)))
    return replace(value, dims=dims, terms=terms, tags=tags if value.data else ())


def _scaled(site: Site, value: Value, ratio: float, alone: bool) -> Value:
    if ratio == 1.0:
        return value
    if value.parametric:
        return replace(value, terms=tuple(replace(t, ratio=t.ratio * ratio) for t in value.terms))
    if value.pending:
        problem = None if alone else "is scaled with the width on one path and not on another"
        terms = (replace(t, ratio=t.ratio * ratio, problem=t.problem or problem) for t in value.terms)
        return replace(value, terms=tuple(terms))
    if value.product is not None and value.reduced:
        site.record.scales[site.location, value.product] = ratio
        return value
    if value.tail:
        for key in value.tail:
            site.record.scales[site.location, key] = ratio
            if not alone:
                site.record.partial.add((site.location, key))
        return value
    if not value.reduced:
        site.record.constants[site.location] = f"a factor that changes by ×{ratio:g} at {site.source}"
    return value


def _unexplained(site: Site, operands: list[Value], constant: Value) -> None:
    if all(v.reduced or v.parametric for v in operands):
        return
    numbers = constant.constant
    what = "that differs between the widths"
    if numbers is not None:
        what = f"that is {numbers[0]:g} at one width and {numbers[1]:g} at the other"
    site.record.constants[site.location] = f"{site.primitive} with a constant {what}, at {site.source}"


def _spoilt(site: Site, value: Value) -> Value:
    """A parameter to which a constant that depends on the width does more than scale it."""
    problem = f"meets a constant that depends on the width in {site.primitive!r} at {site.source}"
    spoilt = (t if t.statistic else replace(t, problem=t.problem or problem) for t in value.terms)
    return replace(value, terms=tuple(spoilt))


def _joined(site: Site, op: str, values: list[Value]) -> tuple[Term, ...]:
    """Terms of a function of several parameters; a parameter's own norm adds nothing to it."""
    terms: dict[int, Term] = {}
    for value in values:
        for term in value.terms:
            if op in OTHER and op != "select_n" and term.ratio != 1.0 and not term.statistic:
                problem = f"is scaled with the width before {op!r} at {site.source}"
                term = replace(term, problem=term.problem or problem)
            known = terms.get(term.param)
            if known is None or (known.statistic and not term.statistic):
                terms[term.param] = term
            elif not term.statistic and (known.axes != term.axes or known.ratio != term.ratio):
                how = "in another layout" if known.axes != term.axes else "under another scale"
                problem = f"meets itself {how} at {site.source}"
                terms[term.param] = replace(known, problem=known.problem or problem)
    several = len(terms) > 1
    return tuple(replace(term, joint=term.joint or several) for term in terms.values())


def _still_linear(op: str, values: list[Value], pending: Value, activations: list[Value]) -> bool:
    """Whether a pending value stays one in a product with other activations, or where a mask selects from it."""
    others = [v for v in activations if v is not pending]
    if op == "mul" or (op == "div" and pending is values[0]):
        # Two activations that vary along one axis are a product of their own, with a gain on one of them.
        own = [] if pending.pending == "lookup" else _own_axes(pending)
        return all(v.tag(i).uniform or pending.tag(i).uniform for v in others for i in own)
    return op == "select_n" and all(v is values[0] for v in others)


def _own_axes(value: Value) -> list[int]:
    """Axes of a value that are made of a parameter's."""
    return [
        i for i in range(len(value.dims)) if any(a.axis is not None for t in value.terms for a in t.axes[i])
    ]


def _still_pending(value: Value) -> Value:
    """What data it was multiplied with may have ended that the data is constant along an axis."""
    if value.pending == "lookup":
        return value
    return replace(
        value,
        terms=tuple(
            replace(
                term,
                axes=tuple(
                    tuple(a._replace(free=a.free and tag.uniform) for a in atoms)
                    for atoms, tag in zip(term.axes, value.tags, strict=True)
                ),
            )
            for term in value.terms
        ),
    )


def _freed(term: Term, tags: tuple[Tag, ...]) -> Term:
    axes = (
        tuple(a._replace(free=tags[i].uniform) for a in atoms) if i < len(tags) else atoms
        for i, atoms in enumerate(term.axes)
    )
    return replace(term, axes=tuple(axes))


def _result(op: str, shell: Value, activations: list[Value], *, square: bool) -> Value:
    """`shell` with what an elementwise result inherits from its activations."""
    tags = []
    for axis in range(len(shell.dims)):
        found = [v.tag(axis) for v in activations]
        copies = tuple(dict.fromkeys(c for tag in found for c in tag.copies))
        varying = sum(not t.uniform for t in found)
        bilinear = op not in OTHER and any(t.bilinear for t in found)
        bilinear = bilinear or (op == "mul" and varying > 1 and not square)
        tags.append(Tag(not varying, any(t.sample for t in found), bilinear, copies))
    return replace(
        shell,
        origins=frozenset().union(*(v.origins for v in activations)),
        grown=any(v.grown or v.any_growth for v in activations),
        tail=frozenset(),
        factors=frozenset().union(*(v.tail | v.factors for v in activations))
        if op not in OTHER
        else frozenset(),
        tags=tuple(tags),
        constant=None,
    )
