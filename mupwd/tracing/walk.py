"""Walks one program at two widths and notes every use that it makes of its parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from mupwd.tracing import constants, contractions, layout, lookups, loops
from mupwd.tracing.elementwise import elementwise
from mupwd.tracing.errors import TraceError
from mupwd.tracing.jaxprs import UNKNOWN, body_of, opened, source_line
from mupwd.tracing.operations import CALLS, COLLECTIVES, ELEMENTWISE, GATHERS, LINEAR, MUTABLE, REDUCTIONS
from mupwd.tracing.residual import residual_branches
from mupwd.tracing.uses import Site, activation, meet, settle
from mupwd.tracing.values import Branch, Location, Mark, Record, Size, Term, Value, resized

# What an equation says of its axes, which has to be the same at both widths.
_SHAPELESS = ("dimension_numbers", "permutation", "broadcast_dimensions", "axes", "dimension", "axis")


class Walk:
    """The walk over a pair of jaxprs of one structure; equal ones where only one width is at hand."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._callers: list[Any] = []  # the calls that the walk is inside of, where they have lines

    def run(
        self, base: Any, delta: Any, values: Sequence[Value], location: Location, record: Record
    ) -> list[Value]:
        """Returns the values of a jaxpr's results."""
        (base, base_consts), (delta, delta_consts) = opened(base), opened(delta)
        env: dict[Any, Value] = {}
        for var, b, d in zip(base.constvars, base_consts, delta_consts, strict=True):
            env[var] = constants.constant(b, d)
        env |= dict(zip(base.invars, values, strict=True))
        readers = Counter(v for e in base.eqns for v in e.invars if not isinstance(v, Literal))
        readers.update(v for v in base.outvars if not isinstance(v, Literal))

        pairs = dict(zip((*base.constvars, *base.invars), (*delta.constvars, *delta.invars), strict=True))

        def read(b: Any, d: Any) -> Value:
            return constants.constant(b, d) if isinstance(b, Literal) else env[b]

        if len(base.eqns) != len(delta.eqns):
            _structures_differ(base, delta)
        for index, (b, d) in enumerate(zip(base.eqns, delta.eqns, strict=True)):
            if b.primitive is not d.primitive:
                _structures_differ(base, delta)
            _check_same(b, d, pairs)
            pairs |= zip(b.outvars, d.outvars, strict=True)
            operands = [read(x, y) for x, y in zip(b.invars, d.invars, strict=True)]
            alone = all(isinstance(v, Literal) or readers[v] == 1 for v in b.invars)
            results = self._equation(b, d, operands, (*location, index), record, alone)
            for slot, (var, value) in enumerate(zip(b.outvars, results, strict=True)):
                env[var] = value
                if value.terms:
                    record.functions.add(((*location, index), slot))
        data = {var for var, value in env.items() if value.data}
        for index, (operand, inside) in residual_branches(base, data).items():
            record.branches[*location, index] = Branch(operand, frozenset((*location, i) for i in inside))
        return [read(x, y) for x, y in zip(base.outvars, delta.outvars, strict=True)]

    def _written(self, eqn: Any) -> Any:
        """The equation, or the call around it where that has a source line alone, as around a cached function."""
        return self._callers[-1] if self._callers and source_line(eqn) == UNKNOWN else eqn

    def _equation(
        self, eqn: Any, delta: Any, values: list[Value], location: Location, record: Record, alone: bool
    ) -> list[Value]:
        name = eqn.primitive.name
        dims = [_dims(b.aval, d.aval) for b, d in zip(eqn.outvars, delta.outvars, strict=True)]
        touched = any(v.data or v.terms for v in values)
        if name in CALLS and (body := body_of(eqn)) is not None:
            self._callers.append(self._written(eqn))
            results = self.run(body, body_of(delta), values, location, record)
            self._callers.pop()
            return results
        # A line is looked up in a traceback: only where a use may be met.
        written = self._written(eqn) if touched else None
        line = source_line(written) if touched else ""
        site = Site(name, line, location, record, self.names, delta.params, written=written)
        match name:
            case "scan":
                return loops.scan(self.run, eqn, delta, values, dims, site)
            case "while":
                return loops.while_loop(self.run, eqn, delta, values, site)
            case "cond":
                return loops.cond(self.run, eqn, delta, values, dims, site)
            case "optimization_barrier":
                return [replace(v, dims=d) for v, d in zip(values, dims, strict=True)]
        if name in MUTABLE:
            where = source_line(self._written(eqn))
            raise TraceError(
                f"the program keeps values in a mutable array ({name} at {where}), where they cannot be followed; "
                "carry them as values of a scan instead"
            )
        if name in COLLECTIVES and (axes := [a for a in eqn.params["axes"] if isinstance(a, int)]):
            # Of vmap with an axis name: what is reduced is an axis of the array.
            site = replace(site, primitive=COLLECTIVES[name], delta_params={"axes": tuple(axes)})
            eqn, delta = (e.replace(params={"axes": tuple(axes)}) for e in (eqn, delta))
            results = [
                self._primitive(site, eqn, delta, [v], [d], alone)[0]
                for v, d in zip(values, dims, strict=True)
            ]
        elif name in LINEAR and len(values) == len(dims) and touched:
            results = [
                elementwise(site, name, [v], d, alone) if v.data or v.terms else replace(v, dims=d)
                for v, d in zip(values, dims, strict=True)
            ]
        else:
            results = self._primitive(site, eqn, delta, values, dims, alone)
            if any(v.any_growth for v in (*values, *results)):
                for value in values:
                    record.met |= value.origins
        return [_without_gradient(v, var.aval) for v, var in zip(results, eqn.outvars, strict=True)]

    def _primitive(self, site, eqn, delta, values, dims, alone) -> list[Value]:
        name, params, out = site.primitive, eqn.params, dims[0] if dims else ()
        if not any(v.data or v.terms for v in values):
            known = constants.folded if name in ELEMENTWISE else constants.computed
            return [known(name, params, values, d) for d in dims]
        if name in ELEMENTWISE:
            return [elementwise(site, name, values, out, alone)]
        value = values[0]
        match name:
            case "dot_general":
                contracting, batch = params["dimension_numbers"]
                same = eqn.invars[0] is eqn.invars[1]
                return [contractions.dot(site, values[0], values[1], contracting, batch, out, same=same)]
            case "ragged_dot_general" | "ragged_dot":
                return [self._ragged_dot(site, params, values, out)]
            case "conv_general_dilated":
                return [contractions.convolve(site, values[0], values[1], params, out)]
            case "reduce_sum":
                return [contractions.reduce(site, value, params["axes"], out, linear=True)]
            case _ if name in REDUCTIONS:
                return [contractions.reduce(site, value, params["axes"], out, linear=False)]
            case "transpose":
                return [layout.transpose(value, params["permutation"], out)]
            case "reshape" | "squeeze" | "expand_dims":
                return [layout.reshape(value, out)]
            case "broadcast_in_dim":
                return [layout.broadcast(value, params["broadcast_dimensions"], out)]
            case "tile":
                return [layout.tile(value, out)]
            case "unstack" | "stack":
                axis = params["axis"]
                if name == "unstack":
                    return [layout.unstack(value, axis, d, site.record) for d in dims]
                return [self._concatenate(site, [layout.expand(v, axis) for v in values], out, axis)]
            case "slice":
                return [layout.cut(value, out, site.record)]
            case "split":
                return [layout.cut(value, d, site.record) for d in dims]
            case "pad":
                return [replace(settle(site, value), dims=out, constant=None)]
            case "gather":
                sizes = tuple(zip(params["slice_sizes"], delta.params["slice_sizes"], strict=True))
                return [lookups.gather(site, values[0], values[1], params["dimension_numbers"], sizes, out)]
            case "dynamic_slice":
                return [lookups.dynamic_slice(site, value, values[1:], out)]
            case "concatenate":
                return [self._concatenate(site, values, out, params["dimension"])]
            case _ if name in GATHERS and params["tiled"]:
                return [layout.gathered(value, out)]
            case "dynamic_update_slice":
                return [self._concatenate(site, values[:2], out, None)]
        parametric = [v for v in values if v.parametric]
        if parametric:
            problem = f"goes through {name!r} at {site.source}, which is not understood"
            return [site.refuse(values, d, problem) for d in dims]
        values = [settle(site, v) for v in values]
        results = [activation(values, d) for d in dims]
        if len(values) == 1:  # sorts, all-gathers and the like keep the axes in place
            results = [
                replace(v, tags=value.tags) if len(v.dims) == len(value.dims) and value.tags else v
                for v in results
            ]
        return results

    def _ragged_dot(self, site: Site, params: Any, values: list[Value], dims: tuple[Size, ...]) -> Value:
        """Rows of the left side are contracted with the matrix of their group."""
        numbers = params.get("ragged_dot_dimension_numbers")
        if numbers is None:
            contracting, batch, groups = ((1,), (1,)), ((), ()), (0,)
        else:
            contracting, batch = numbers.dot_dimension_numbers
            groups = tuple(numbers.rhs_group_dimensions)
        lhs, rhs = values[0], values[1]
        if lhs.parametric or not rhs.parametric or not groups:
            return site.refuse(values, dims, "is in a ragged product, but not as its grouped matrices")
        terms = []
        kept = [i for i in range(len(rhs.dims)) if i not in groups]
        for term in rhs.terms:
            marks = [
                Mark(a.axis, "batch", a.size) for g in groups for a in term.axes[g] if a.axis is not None
            ]
            terms.append(replace(term, axes=tuple(term.axes[i] for i in kept)).marked(*marks))
        rows = Value(tuple(rhs.dims[i] for i in kept), tuple(terms))
        moved = {old: new for new, old in enumerate(kept)}
        contracting = (contracting[0], [moved[i] for i in contracting[1]])
        batch = (batch[0], [moved[i] for i in batch[1]])
        return contractions.dot(site, settle(site, lhs), rows, contracting, batch, dims)

    def _concatenate(
        self, site: Site, values: list[Value], dims: tuple[Size, ...], axis: int | None
    ) -> Value:
        """Parameters beside parameters stay parameters; beside activations they become one."""
        operands = [v for v in values if v.data or v.terms]
        if not any(v.data for v in operands):
            terms = [t for v in operands for t in v.terms]
            if len({t.param for t in terms}) < len(terms):
                return self._pieces_of_one(site, operands, dims, axis)
            return Value(dims, tuple(terms))
        settled = [settle(site, v) for v in values]
        result = activation([v for v in settled if v.data or v.terms], dims)
        first = next(v for v in settled if v.data)
        result = replace(result, tags=tuple(first.tag(i) for i in range(len(dims))))
        for slot, value in enumerate(settled):
            if value.parametric:
                meet(site, value, "join", result, slot)
        return result

    def _pieces_of_one(self, site, operands: list[Value], dims, axis: int | None) -> Value:
        """A parameter cut and put together again, as rotary halves or a roll: its axes are where they were."""
        terms: dict[int, Term] = {}
        # A piece of size 1 was taken by an index, and has lost its axis: the others say what it was.
        for term in sorted((t for v in operands for t in v.terms), key=lambda term: len(term.marks)):
            known = terms.setdefault(term.param, term)
            moved = any(i != axis and known.axes[i] != term.axes[i] for i in range(len(dims)))
            if moved or known.ratio != term.ratio:
                how = "in another layout" if moved else "under another scale"
                problem = f"is joined with itself {how} at {site.source}"
                known = replace(known, problem=known.problem or problem)
            terms[term.param] = replace(known, problem=known.problem or term.problem)
        whole = (
            replace(
                term,
                axes=tuple(
                    resized(atoms, (0, 0), dims[i]) if i == axis and len(atoms) == 1 else atoms
                    for i, atoms in enumerate(term.axes)
                ),
            )
            for term in terms.values()
        )
        return Value(dims, tuple(whole))


def _structures_differ(base: Any, delta: Any) -> None:
    for b, d in zip(base.eqns, delta.eqns, strict=False):
        if b.primitive is not d.primitive:
            raise TraceError(
                f"the program has another structure at the second width: {b.primitive.name} "
                f"({source_line(b)}) against {d.primitive.name} ({source_line(d)}). Only sizes may "
                "depend on the width; choose base= and delta= so that the same code runs, or write "
                "loops over what grows as array operations"
            )
    longer = max(base.eqns, delta.eqns, key=len)
    extra = longer[min(len(base.eqns), len(delta.eqns))]
    raise TraceError(
        f"the program has {len(base.eqns)} operations at one width and {len(delta.eqns)} at the other; the "
        f"first that is too many is {extra.primitive.name} ({source_line(extra)}). A Python loop over "
        "something that grows cannot be read; write it as an array operation"
    )


def _check_same(base: Any, delta: Any, pairs: dict[Any, Any]) -> None:
    """Both equations read the same values and treat their axes in the same way."""
    for b, d in zip(base.invars, delta.invars, strict=True):
        if isinstance(b, Literal) is not isinstance(d, Literal) or (
            not isinstance(b, Literal) and pairs[b] is not d
        ):
            raise TraceError(
                f"the program has another structure at the second width: {base.primitive.name} ({source_line(base)}) "
                "reads other values there. Only sizes may depend on the width"
            )
    for name in _SHAPELESS:
        b, d = base.params.get(name), delta.params.get(name)
        if type(b) is type(d) and b != d:
            raise TraceError(
                f"the program has another structure at the second width: {base.primitive.name} ({source_line(base)}) "
                f"has {name}={b} against {d}. Only sizes may depend on the width"
            )


def _dims(base: Any, delta: Any) -> tuple[Size, ...]:
    b, d = getattr(base, "shape", ()), getattr(delta, "shape", ())
    if len(b) != len(d):
        raise TraceError(
            f"a value in the program has {len(b)} axes at one width, {b}, and {len(d)} at the other, {d}; only sizes "
            "may depend on the width"
        )
    return tuple(zip(b, d, strict=True))


def _without_gradient(value: Value, aval: Any) -> Value:
    """Integers and booleans carry no gradient: what they depend on is not used through them."""
    dtype = getattr(aval, "dtype", None)
    if dtype is None or not value.data or jnp.issubdtype(dtype, np.inexact):
        return value  # quantised weights are still the weights
    return replace(value.settled(), origins=frozenset(), tail=frozenset())
