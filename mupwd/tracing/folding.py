"""Which parameters a factor at some place of a program can be folded into.

Every value is a product of powers of the parameters' scales, as far as the program is homogeneous. What the
program does gives equations between the exponents: both sides of a sum have the same, what goes into a
nonlinear function has none, what arrives at the place has the factor's own. Their solution is exact: a model
whose parameters are scaled by it gives the results of the model with the factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from mupwd.tracing.jaxprs import body_of, opened, scan_counts, source_line
from mupwd.tracing.operations import ADDITIVE, CALLS, GATHERS, LINEAR, names
from mupwd.tracing.trace import Program
from mupwd.tracing.values import Location

# Exponent of each parameter's scale, by the parameter's number; None for a zero, which has any.
Degree = Mapping[int, float] | None

# What they give is the first operand in another shape, or a sum or a maximum of its entries.
_SHAPED = names(
    "transpose reshape squeeze expand_dims broadcast_in_dim tile slice split unstack gather dynamic_slice "
    "reduce_sum reduce_max reduce_min cummax cummin abs all_to_all"
)
_JOINED = names("concatenate stack pad max min dynamic_update_slice")
_MULTIPLIED = names("mul dot_general ragged_dot ragged_dot_general conv_general_dilated")
_POWERS = {"square": 2.0, "sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0}


@dataclass(frozen=True)
class Folded:
    """The parameters, by number, that take a factor; or those that keep it from being folded, and why."""

    parameters: tuple[int, ...] = ()
    blamed: tuple[int, ...] = ()
    problem: str = ""


def fold(
    traced: Program,
    *,
    operands: Set[tuple[Location, int]] = frozenset(),
    results: Set[Location] = frozenset(),
    last: Mapping[int, Any],
) -> Folded:
    """Finds the parameters that can be multiplied by a factor in the place of some values.

    Args:
      traced: the program.
      operands: places of the factor: operands of equations, by (location, slot).
      results: places of the factor: first results of equations.
      last: an order of the parameters; where several would do, the last one takes the factor.
    """
    equations = _Equations(operands, results)
    for degree in equations.run(traced.jaxpr, _degrees(traced), ()):
        equations.add(degree, 0.0, "the function's result")
    return _solved(equations.found, last)


def proportional(traced: Program, parameter: int, operands: Set[tuple[Location, int]]) -> bool:
    """Whether values are proportional to a parameter where it is used: neither normalised nor rounded before.

    Args:
      traced: the program.
      parameter: its number.
      operands: the uses: operands of equations, by (location, slot).
    """
    alone: Degree = {parameter: 1.0}
    walk = _Proportions(operands, frozenset())
    walk.run(traced.jaxpr, [degree if degree == alone else {} for degree in _degrees(traced)], ())
    return all(degree == alone for degree in walk.seen)


def _degrees(traced: Program) -> list[Degree]:
    """The degrees of a program's inputs: each parameter's in itself is 1."""
    degrees: list[Degree] = []
    number = 0
    for flag in traced.is_parameter:
        degrees.append({number: 1.0} if flag else {})
        number += flag
    return degrees


@dataclass(frozen=True)
class _Equation:
    degree: Mapping[int, float]
    right: float
    source: str

    def missing(self, known: Mapping[int, float]) -> float:
        return self.right - sum(known.get(p, 0.0) * exponent for p, exponent in self.degree.items())


@dataclass
class _Equations:
    """A walk over a program that writes the equations down."""

    operands: Set[tuple[Location, int]]
    results: Set[Location]
    found: list[_Equation] = field(default_factory=list)

    def add(self, degree: Degree, right: float, source: str) -> None:
        if degree is not None and (degree or right):
            self.found.append(_Equation(degree, right, source))

    def run(self, jaxpr: Any, inputs: Sequence[Degree], location: Location) -> list[Degree]:
        jaxpr, _ = opened(jaxpr)
        env: dict[Any, Degree] = {var: {} for var in jaxpr.constvars}
        env |= dict(zip(jaxpr.invars, inputs, strict=True))

        def read(var: Any) -> Degree:
            return _of_literal(var.val) if isinstance(var, Literal) else env[var]

        for index, eqn in enumerate(jaxpr.eqns):
            here = (*location, index)
            degrees = [read(v) for v in eqn.invars]
            for slot, degree in enumerate(degrees):
                if (here, slot) in self.operands:
                    self.add(degree, 1.0, source_line(eqn))
                    degrees[slot] = {}
            outputs = self._equation(eqn, degrees, here)
            if here in self.results:
                self.add(outputs[0], 1.0, source_line(eqn))
                outputs = [{}, *outputs[1:]]
            env |= dict(zip(eqn.outvars, outputs, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _equation(self, eqn: Any, degrees: list[Degree], here: Location) -> list[Degree]:
        name, count = eqn.primitive.name, len(eqn.outvars)
        if not count:
            return []  # prints or checks, and gives nothing
        if name in CALLS and (body := body_of(eqn)) is not None:
            return self.run(body, degrees, here)
        match name:
            case "scan":
                consts, carried = scan_counts(eqn)
                rest = self._loop(eqn, degrees[consts : consts + carried])
                inputs = [*degrees[:consts], *rest, *degrees[consts + carried :]]
                results = self.run(body_of(eqn), inputs, here)
                return [*self._loop(eqn, results[:carried]), *results[carried:]]
            case "while":
                n_cond, n_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
                rest = self._loop(eqn, degrees[n_cond + n_body :])
                conditions = self.run(eqn.params["cond_jaxpr"], [*degrees[:n_cond], *rest], (*here, "cond"))
                self._nonlinear(eqn, conditions)
                inputs = [*degrees[n_cond : n_cond + n_body], *rest]
                return self._loop(eqn, self.run(eqn.params["body_jaxpr"], inputs, here))
            case "cond":
                branches = enumerate(eqn.params["branches"])
                outcomes = [self.run(body, degrees[1:], (*here, i)) for i, body in branches]
                return [self._same(eqn, list(each)) for each in zip(*outcomes, strict=True)]
            case "select_n":
                self._nonlinear(eqn, degrees[:1])
                return [self._same(eqn, degrees[1:])]
            case "integer_pow":
                return [_power(degrees[0], float(eqn.params["y"]))]
            case "div":
                return [_multiplied([degrees[0], _power(degrees[1], -1.0)])]
            case "complex":
                return [self._same(eqn, degrees)]
        if not all(jnp.issubdtype(getattr(v.aval, "dtype", int), np.inexact) for v in eqn.outvars):
            return self._nonlinear(eqn, degrees, count)  # rounded, or compared
        if name in _POWERS:
            return [_power(degrees[0], _POWERS[name])]
        if name in LINEAR or name == "optimization_barrier":
            return degrees
        if name in ADDITIVE or name in _JOINED:
            many = degrees if name in ("concatenate", "stack") else degrees[:2]
            return [self._same(eqn, many)]
        if name in _MULTIPLIED:
            return [_multiplied(degrees[:2])]
        if name in _SHAPED or name in GATHERS:
            return [degrees[0]] * count
        return self._nonlinear(eqn, degrees, count)

    def _nonlinear(self, eqn: Any, degrees: Sequence[Degree], count: int = 0) -> list[Degree]:
        for degree in degrees:
            self.add(degree, 0.0, source_line(eqn))
        return [{}] * count

    def _loop(self, eqn: Any, carry: Sequence[Degree]) -> list[Degree]:
        """What a loop carries is scaled neither before nor after a step."""
        return self._nonlinear(eqn, carry, len(carry))

    def _same(self, eqn: Any, degrees: Sequence[Degree]) -> Degree:
        known = [degree for degree in degrees if degree is not None]
        if not known:
            return None
        for degree in known[1:]:
            self.add(_multiplied([known[0], _power(degree, -1.0)]), 0.0, source_line(eqn))
        return known[0]


@dataclass
class _Proportions(_Equations):
    """The same walk for the degrees alone: what is not homogeneous has none, which NaN stands for."""

    seen: list[Degree] = field(default_factory=list)

    def add(self, degree: Degree, right: float, source: str) -> None:
        if right:
            self.seen.append(degree)

    def _nonlinear(self, eqn: Any, degrees: Sequence[Degree], count: int = 0) -> list[Degree]:
        return [dict.fromkeys((p for degree in degrees for p in degree or ()), math.nan)] * count

    def _same(self, eqn: Any, degrees: Sequence[Degree]) -> Degree:
        known = [degree for degree in degrees if degree is not None]
        if all(degree == known[0] for degree in known):
            return known[0] if known else None
        return dict.fromkeys((p for degree in known for p in degree), math.nan)


def _of_literal(value: Any) -> Degree:
    return {} if np.any(np.asarray(value) != 0) else None


def _power(degree: Degree, exponent: float) -> Degree:
    return None if degree is None else {p: e * exponent for p, e in degree.items()}


def _multiplied(degrees: Sequence[Degree]) -> Degree:
    total: dict[int, float] = {}
    for degree in degrees:
        if degree is None:
            return None
        for parameter, exponent in degree.items():
            total[parameter] = total.get(parameter, 0.0) + exponent
    return {parameter: exponent for parameter, exponent in total.items() if exponent}


def _solved(equations: Sequence[_Equation], last: Mapping[int, Any]) -> Folded:
    known: dict[int, float] = {}

    def free(equation: _Equation) -> list[int]:
        return [p for p in equation.degree if p not in known]

    while True:
        ones = [equation for equation in equations if len(free(equation)) == 1]
        choice = next((e for e in equations if len(free(e)) > 1 and e.missing(known)), None)
        if ones:
            for equation in ones:
                for p in free(equation):  # none any more, where an equation before decided it
                    known[p] = equation.missing(known) / equation.degree[p]
        elif choice is not None:
            chosen, *others = sorted(free(choice), key=last.__getitem__, reverse=True)
            exponent = choice.missing(known) / choice.degree[chosen]
            known |= {chosen: exponent} | dict.fromkeys(others, 0.0)
        else:
            break
    for equation in equations:
        if not math.isclose(equation.missing(known), 0.0, abs_tol=1e-9):
            blamed = tuple(equation.degree)
            if not blamed:
                return Folded((), (), f"ends at {equation.source} in no parameter that it is proportional to")
            return Folded((), blamed, f"meets at {equation.source} what does not have the factor")
    odd = [p for p, exponent in known.items() if exponent not in (0.0, 1.0)]
    if odd:
        return Folded((), tuple(odd), "is used as a power")
    return Folded(tuple(p for p, exponent in known.items() if exponent))
