"""Finds residual branches: what lies between an activation and its sum with a function of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from typing import Any

from jax.extend.core import Literal

_TRANSPARENT = {
    "convert_element_type",
    "reshape",
    "transpose",
    "squeeze",
    "sharding_constraint",
    "copy",
    "mul",
}


def residual_branches(jaxpr: Any, data: Set[Any]) -> dict[int, tuple[int, set[int]]]:
    """Returns, by the index of each sum `x + f(x)`, which operand `f(x)` is and the equations inside `f`.

    Args:
      jaxpr: an open jaxpr.
      data: its variables that are activations.
    """
    maker = {var: index for index, eqn in enumerate(jaxpr.eqns) for var in eqn.outvars}
    readers = Counter(v for eqn in jaxpr.eqns for v in eqn.invars if not isinstance(v, Literal))
    streams: dict[Any, Any] = {}  # sum that only another sum may read -> what its branch was added to
    found: dict[int, tuple[int, set[int]]] = {}
    for index, eqn in enumerate(jaxpr.eqns):
        operands = [v for v in eqn.invars if not isinstance(v, Literal) and v in data]
        if eqn.primitive.name not in ("add", "add_any") or len(operands) != 2:
            continue
        for position in (0, 1):
            skip = _sources(jaxpr, maker, data, streams, operands[1 - position])
            if inside := _between(jaxpr, maker, data, skip, operands[position]):
                found[index] = (position, inside)
                if readers[eqn.outvars[0]] == 1:
                    streams[eqn.outvars[0]] = operands[1 - position]
    return found


def _sources(jaxpr: Any, maker: dict, data: Set[Any], streams: dict[Any, Any], var: Any) -> list[Any]:
    """The variable itself, and those that it is only a cast, a scale or a new shape of.

    In `(x + f(x)) + g(x)` the inner sum has `x` among its sources: its branches are beside each other.
    """
    found = [var]
    while (index := maker.get(var)) is not None:
        if var in streams:
            var = streams[var]
            found.append(var)
            continue
        eqn = jaxpr.eqns[index]
        operands = [v for v in eqn.invars if not isinstance(v, Literal) and v in data]
        if eqn.primitive.name not in _TRANSPARENT or len(operands) != 1:
            break
        var = operands[0]
        found.append(var)
    return found


def _between(jaxpr: Any, maker: dict, data: Set[Any], sources: list[Any], end: Any) -> set[int]:
    """Equations on the way from any of `sources` to `end`; empty where there is no way."""
    first = min(maker.get(var, -1) for var in sources)
    seen: set[int] = set()
    reached = False
    waiting = [end]
    while waiting:
        var = waiting.pop()
        if var in sources:
            reached = True
            continue
        index = maker.get(var, -1)
        if index <= first or index in seen:
            continue
        seen.add(index)
        waiting += [v for v in jaxpr.eqns[index].invars if not isinstance(v, Literal) and v in data]
    return seen if reached else set()
