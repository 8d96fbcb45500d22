"""Which use of a parameter is which, in the order in which `instrument` reports them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from mupwd.family.call import traced_call
from mupwd.plan import Plan
from mupwd.tracing.values import Use

Kind = Literal["product", "lookup", "readout", "gain", "addend"]


def kinds_of_uses(fn: Callable[..., Any], plan: Plan, params: Any, *args: Any) -> dict[str, list[Kind]]:
    """Returns what each use of each parameter is: `{path: [kind of each]}`.

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
    for use in sorted(kept, key=lambda use: [(isinstance(i, str), i) for i in use.location]):
        if names[use.param] in plan:
            found.setdefault(names[use.param], []).append(_kind(use, plan, names[use.param]))
    return found


def _kind(use: Use, plan: Plan, path: str) -> Kind:
    if use.kind == "lookup":
        return "lookup"
    if use.kind == "contraction":
        growing = {axis for axis, grows in enumerate(plan[path].parameter.growing) if grows}
        summed = {mark.axis for mark in use.marks if mark.label == "in"}
        readout = plan[path].role in ("output", "tied") and not growing.isdisjoint(summed)
        return "readout" if readout else "product"
    return "addend" if use.kind in ("sum", "join") else "gain"
