"""Which use of a parameter is which, in the order in which `instrument` reports them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from mupwd.diagnostics.moments import meets_as_a_sum
from mupwd.diagnostics.uses import evaluated, measured_uses, order
from mupwd.family.call import traced_call
from mupwd.plan import Plan
from mupwd.tracing.values import Use

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
    kinds: dict[str, list[Kind]] = {}
    for path, use in measured_uses(call, plan.keys()):
        kinds.setdefault(path, []).append(_kind(use, plan, path))
    products, contracted = call.record.products, {}
    for place in sorted(filter(evaluated, products), key=order):
        contracted.setdefault(products[place].source, []).append(products[place].size[0])
    return Uses(kinds, contracted)


def _kind(use: Use, plan: Plan, path: str) -> Kind:
    if use.kind == "lookup":
        return "lookup"
    if use.kind == "contraction":
        growing = {axis for axis, grows in enumerate(plan[path].parameter.growing) if grows}
        summed = {mark.axis for mark in use.marks if mark.label == "in"}
        readout = plan[path].role in ("output", "tied") and not growing.isdisjoint(summed)
        return "readout" if readout else "product"
    return "addend" if use.kind == "join" or meets_as_a_sum(use) else "gain"
