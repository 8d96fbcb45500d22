"""Elementwise operations: parameters joined with parameters, multiplied into or added to activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mupwd.tracing.uses import Site, meet, settle
from mupwd.tracing.values import Size, Tag, Term, Value, anonymous

# A linear function of their operand.
LINEAR = {
    *(
        "convert_element_type",
        "copy",
        "copy_p",
        "device_put",
        "mesh_cast",
        "name",
        "neg",
        "optimization_barrier",
    ),
    *("pcast", "psum", "psum2", "psum_invariant", "pvary", "real", "reduce_precision", "reshard"),
    *("sharding_constraint", "stop_gradient", "cumsum", "rev"),
}
ADDITIVE = {"add", "sub", "add_any"}
PRODUCTS = {"mul", "div"}
OTHER = {
    *(
        "abs",
        "acos",
        "acosh",
        "and",
        "asin",
        "asinh",
        "atan",
        "atan2",
        "atanh",
        "cbrt",
        "ceil",
        "clamp",
        "cos",
    ),
    *(
        "cosh",
        "cumlogsumexp",
        "cummax",
        "cummin",
        "cumprod",
        "digamma",
        "eq",
        "erf",
        "erf_inv",
        "erfc",
        "exp",
    ),
    *("exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p"),
    *("logistic", "lt", "max", "min", "ne", "nextafter", "not", "or", "pow", "rem", "round", "rsqrt"),
    *("select_n", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh", "xor", "pmax", "pmin"),
}
ELEMENTWISE = LINEAR | ADDITIVE | PRODUCTS | OTHER

_FOLD: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "max": max,
    "min": min,
    "pow": lambda a, b: a**b,
    "neg": lambda a: -a,
    "sqrt": lambda a: float(np.sqrt(a)),
    "rsqrt": lambda a: float(1 / np.sqrt(a)),
    "exp": lambda a: float(np.exp(a)),
    "log": lambda a: float(np.log(a)),
    "square": lambda a: a * a,
    "floor": lambda a: float(np.floor(a)),
    "round": lambda a: float(np.round(a)),
}


def elementwise(site: Site, op: str, values: list[Value], dims: tuple[Size, ...], alone: bool) -> Value:
    """`alone`: no other equation reads the operands, so that a constant scales every path of a use."""
    if not any(v.data or v.terms for v in values):
        return Value(dims, constant=_folded(site, op, values))
    values = [_stretched(v, dims) for v in values]
    constants = [v for v in values if not v.data and not v.terms]
    operands = [v for v in values if v.data or v.terms]

    linear = op in LINEAR or (op in PRODUCTS and len(operands) == 1 and operands[0] is values[0])
    linear = linear or (op == "mul" and len(operands) == 1)
    changing = [v for v in constants if v.constant is not None and v.constant[0] != v.constant[1]]
    ratio = 1.0
    for constant in changing:
        if linear and constant.constant and constant.constant[0] and constant.constant[1]:
            factor = constant.constant[1] / constant.constant[0]
            ratio *= 1 / factor if op == "div" else factor
        else:
            _unexplained(site, operands, constant)
    if linear:
        return replace(_scaled(site, operands[0], ratio, alone), dims=dims, constant=None)

    parametric = [v for v in operands if v.parametric]
    activations = [v for v in operands if v.data]
    if not activations:
        return Value(dims, _joined(site, parametric))
    pending = [v for v in activations if v.pending]
    if not parametric and len(pending) == 1:
        kept = _still_linear(op, values, pending[0], activations)
        if kept is not None:
            return _result(replace(kept, dims=dims), activations, dims, kept)
    activations = [settle(site, v) for v in activations]
    result = _result(Value(dims, data=True), activations, dims)
    if op in ADDITIVE and all(v.tail for v in activations):
        result = replace(result, tail=frozenset().union(*(v.tail for v in activations)))
    if not parametric:
        only_constants = len(activations) == 1
        return replace(result, reduced=only_constants and activations[0].reduced)
    terms = _joined(site, parametric)
    if op in PRODUCTS:
        terms = tuple(_freed(term, result.tags) for term in terms)
        return replace(result, terms=terms, pending="product", group=site)
    kind = "sum" if op in ADDITIVE else "product"
    keys = meet(site, Value(dims, terms), kind, result)
    return replace(result, tail=result.tail | frozenset(keys) if result.tail else result.tail)


def _folded(site: Site, op: str, values: list[Value]) -> tuple[float, float] | None:
    if any(v.constant is None for v in values):
        return None
    numbers = [v.constant for v in values if v.constant is not None]
    if op in ("convert_element_type", "copy", "stop_gradient", "reduce_precision"):
        return numbers[0]
    if op == "integer_pow":
        return None
    try:
        with np.errstate(all="ignore"):
            return (_FOLD[op](*(n[0] for n in numbers)), _FOLD[op](*(n[1] for n in numbers)))
    except (KeyError, ArithmeticError, TypeError, ValueError):
        return None


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
    if value.product is not None:
        site.record.scales[site.location, value.product] = ratio
        return value
    if value.tail:
        for key in value.tail:
            site.record.scales[site.location, key] = ratio if alone else float("nan")
        return value
    if not value.reduced:
        site.record.constants[site.location] = f"a factor that changes by ×{ratio:g} at {site.source}"
    return value


def _unexplained(site: Site, operands: list[Value], constant: Value) -> None:
    if all(v.reduced or v.parametric for v in operands):
        return
    numbers = constant.constant or (0.0, 0.0)
    site.record.constants[site.location] = (
        f"{site.primitive} with a constant that is {numbers[0]:g} at one width and {numbers[1]:g} at the other, "
        f"at {site.source}"
    )


def _joined(site: Site, values: list[Value]) -> tuple[Term, ...]:
    """Terms of a function of several parameters; a parameter's own norm adds nothing to it."""
    terms: dict[int, Term] = {}
    for value in values:
        for term in value.terms:
            known = terms.get(term.param)
            if known is None or (known.statistic and not term.statistic):
                terms[term.param] = term
            elif not term.statistic and known.axes != term.axes:
                where = f"meets itself in another layout at {site.source}"
                terms[term.param] = replace(known, problem=known.problem or where)
    several = len(terms) > 1
    return tuple(replace(term, joint=term.joint or several) for term in terms.values())


def _still_linear(op: str, values: list[Value], pending: Value, activations: list[Value]) -> Value | None:
    """The pending value after a product with other activations or a masking with constants; else None."""
    others = [v for v in activations if v is not pending]
    if op == "mul" or (op == "div" and pending is values[0]):
        if pending.pending == "lookup":
            return pending
        tags = tuple(Tag(uniform=all(v.tag(i).uniform for v in others)) for i in range(len(pending.dims)))
        return replace(pending, terms=tuple(_kept_free(t, tags) for t in pending.terms))
    if op == "select_n" and not any(v is not values[0] for v in others):
        return pending
    return None


def _freed(term: Term, tags: tuple[Tag, ...]) -> Term:
    axes = (
        tuple(a._replace(free=tags[i].uniform) for a in atoms) if i < len(tags) else atoms
        for i, atoms in enumerate(term.axes)
    )
    return replace(term, axes=tuple(axes))


def _kept_free(term: Term, tags: tuple[Tag, ...]) -> Term:
    axes = (
        tuple(a._replace(free=a.free and tags[i].uniform) for a in atoms) for i, atoms in enumerate(term.axes)
    )
    return replace(term, axes=tuple(axes))


def _result(
    shell: Value, activations: list[Value], dims: tuple[Size, ...], kept: Value | None = None
) -> Value:
    """`shell` with what an elementwise result inherits from its activations."""
    tags = []
    for axis in range(len(dims)):
        found = [v.tag(axis) for v in activations]
        copies = tuple(dict.fromkeys(c for tag in found for c in tag.copies))
        tags.append(Tag(all(t.uniform for t in found), any(t.sample for t in found), copies))
    return replace(
        shell,
        origins=frozenset().union(*(v.origins for v in activations)),
        grown=any(v.grown or v.any_growth for v in activations),
        tail=frozenset(),
        tags=tuple(tags),
        constant=None,
    )
