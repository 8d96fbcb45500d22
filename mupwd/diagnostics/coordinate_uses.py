"""Which use of a parameter is which, in the order in which `instrument` reports them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from mupwd.family.call import traced_call
from mupwd.plan import Plan
from mupwd.tracing.values import Location, Use

Kind = Literal["product", "lookup", "readout", "gain", "addend"]


class Uses(NamedTuple):
    """What a program does at one width.

    Attributes:
      kinds: `{path: [kind of each use]}`.
      contracted: `{source line: [size of each]}` of the axes along which two activations are contracted, as
        `activation_products` reports them.
    """

    kinds: dict[str, list[Kind]]
    contracted: dict[str, list[int]]


def uses_of(fn: Callable[..., Any], plan: Plan, params: Any, *args: Any) -> Uses:
    """Returns what each use of each parameter is.

    Args:
      fn: called as `fn(params, *args)`.
      plan: of the width of `params`; a product is a readout where it sums over an axis of an output or tied
        parameter that grows.
      params: parameters, or their shapes.
      *args: inputs, or their shapes.
    """
    call = traced_call(fn, params, args, {})
    names = call.program.names
    uses = [use for use in call.record.uses.values() if use.kind != "result"]
    strong = {use.group for use in uses if not use.weak and use.group is not None}
    kept = [use for use in uses if not (use.weak and use.group in strong)]
    found: dict[str, list[Kind]] = {}
    for use in sorted(kept, key=lambda use: _in_program_order(use.location)):
        if names[use.param] in plan:
            found.setdefault(names[use.param], []).append(_kind(use, plan, names[use.param]))
    contracted: dict[str, list[int]] = {}
    products = call.record.products
    for place in sorted((place for place in products if "cond" not in place), key=_in_program_order):
        contracted.setdefault(products[place].source, []).append(products[place].size[0])
    return Uses(found, contracted)


def _in_program_order(place: Location) -> Any:
    return [(isinstance(index, str), index) for index in place]


def _kind(use: Use, plan: Plan, path: str) -> Kind:
    if use.kind == "lookup":
        return "lookup"
    if use.kind == "contraction":
        growing = {axis for axis, grows in enumerate(plan[path].parameter.growing) if grows}
        summed = {mark.axis for mark in use.marks if mark.label == "in"}
        readout = plan[path].role in ("output", "tied") and not growing.isdisjoint(summed)
        return "readout" if readout else "product"
    return "addend" if use.kind in ("sum", "join") else "gain"
