"""Forward factors for a model whose code nobody may change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from mupwd.family.call import check_function, traced_call
from mupwd.paths import map_named
from mupwd.plan import Plan, check_is_plan
from mupwd.tracing import TraceError
from mupwd.tracing.interpret import Entries, Evaluate, Interpreter, Pair, Visitor
from mupwd.tracing.trace import Program
from mupwd.tracing.values import Location, Record, Use


def apply_forward(fn: Callable[..., Any], plan: Plan) -> Callable[..., Any]:
    """Returns `fn` with the plan's forward factors multiplied in at the uses that the trace finds.

    The product of a parameter `W` with its input becomes `plan.forward[path] · (W x)`, before any bias or
    nonlinearity; with a depth recipe, every sum `x + f(x)` whose branch holds parameters becomes
    `x + plan.residual_scale · f(x)`. Where head_dim grows, attention's logits are scaled by
    `sqrt(base_head_dim) / head_dim` in all. The factors are numbers in the compiled program, one multiplication
    each.

    Args:
      fn: called as `fn(params, *args, **kwargs)`, where `params` is the tree that the plan is for (or a model
        that holds it), and the rest is data.
      plan: of the target; in forward form, if it is to have any factors.

    Returns:
      A function of the same signature that can be jitted, differentiated and sharded; `fn` itself where there
      is nothing to apply.

    Raises:
      TraceError: when called: a parameter with a factor is not used in a way that the factor is for, or is
        used inside a function with a derivative of its own.
      PlanError: when called: the parameters do not fit the plan.
      TypeError: `fn` is no function, or `plan` no plan.

    Example:
      >>> import jax.numpy as jnp, mupwd
      >>> def build(width):
      ...     return (lambda p, tokens: p["embed"][tokens] @ p["embed"].T), {"embed": jnp.ones((10, width))}
      >>> made = mupwd.family(build, base=8, inputs=(jnp.zeros((4,), int),))
      >>> plan = made.plan(32, form="forward")
      >>> fn, params = build(32)
      >>> float(apply_forward(fn, plan)(params, jnp.array([1]))[0, 0]), float(fn(params, jnp.array([1]))[0, 0])
      (8.0, 32.0)

    Source: the readout of Tensor Programs V, arXiv 2203.03466, table 8; residual branches of CompleteP, arXiv
    2505.01618, table 1.
    """
    check_is_plan(plan)
    check_function(fn)
    if not plan.forward and not plan.logits and plan.residual_scale == 1.0:
        return fn

    def applied(params: Any, *args: Any, **kwargs: Any) -> Any:
        # None is an empty tree: what the model holds besides the plan's parameters is not checked.
        plan.check(map_named(lambda name, leaf: leaf if name in plan else None, params))

        call = traced_call(fn, params, args, kwargs)
        results = _readout_factors(call.program, call.record, plan) | _logit_factors(call.record, plan)
        visitors = _visitors(results, _branch_factors(call.record, plan))
        return call.run(Interpreter(visitors, changes=True))[0]

    return applied


def _readout_factors(traced: Program, record: Record, plan: Plan) -> dict[Location, float]:
    numbers = {name: number for number, name in enumerate(traced.names)}
    factors: dict[Location, float] = {}
    for path, factor in plan.forward.items():
        if path not in numbers:
            raise TraceError(f"{path} has a forward factor, but fn has no parameter of that name")
        growing = {
            axis
            for axis, (a, b) in enumerate(zip(plan[path].shape, plan[path].base_shape, strict=True))
            if a != b
        }
        uses = [use for use in record.uses.values() if use.param == numbers[path]]
        for use in uses:
            if use.problem:
                raise TraceError(f"{path}: {use.problem}. Met in {use.primitive} at {use.source}")
        # A mean over rows or products that are used as they are is a norm's, not a readout.
        strong = {use.group for use in uses if not use.weak and use.group is not None}
        readouts = {
            use.location
            for use in uses
            if _sums_over(use, growing) and not (use.weak and use.group in strong)
        }
        if not readouts:
            raise TraceError(
                f"{path} has the forward factor {factor:g}, but fn has no product that sums over the axis that "
                f"grows (axes {sorted(growing)}); is fn the function that the family was made from?"
            )
        for location in readouts:
            factors[location] = factors.get(location, 1.0) * factor
    return factors


def _logit_factors(record: Record, plan: Plan) -> dict[Location, float]:
    factors = {}
    for logits in plan.logits:
        found = [
            (location, product)
            for location, product in record.products.items()
            if product.where == logits.where
        ]
        if not found:
            raise TraceError(
                f"the plan scales the logits at {logits.source}, but fn has no product of activations there; is fn the "
                "function that the family was made from, in the same file?"
            )
        for location, product in found:
            exponent = (plan.rules.logits or 0.0) - logits.exponent
            factors[location] = (product.size[0] / logits.size) ** exponent
    return {location: factor for location, factor in factors.items() if factor != 1.0}


def _sums_over(use: Use, growing: set[int]) -> bool:
    labels = {mark.label for mark in use.marks if mark.axis in growing}
    return labels == {"in"}


def _branch_factors(record: Record, plan: Plan) -> dict[tuple[Location, int], float]:
    if plan.residual_scale == 1.0:
        return {}
    used = {use.location[:n] for use in record.uses.values() for n in range(1, len(use.location) + 1)}
    return {
        (location, branch.operand): plan.residual_scale
        for location, branch in record.branches.items()
        if not branch.equations.isdisjoint(used)
    }


def _visitors(
    results: Mapping[Location, float], operands: Mapping[tuple[Location, int], float]
) -> dict[Location, Visitor]:
    by_slot: dict[Location, dict[int, float]] = {location: {} for location in results}
    for (location, slot), factor in operands.items():
        by_slot.setdefault(location, {})[slot] = factor
    return {location: _scaling(slots, results.get(location)) for location, slots in by_slot.items()}


def _scaling(slots: Mapping[int, float], result: float | None) -> Visitor:
    """Scales operands of an equation, and its first result."""

    def visit(eqn: Any, operands: list[Pair], evaluate: Evaluate) -> tuple[list[Pair], Entries]:
        scaled = [_scaled(operand, slots.get(slot)) for slot, operand in enumerate(operands)]
        outputs, entries = evaluate(scaled)
        return [_scaled(outputs[0], result), *outputs[1:]], entries

    return visit


def _scaled(pair: Pair, factor: float | None) -> Pair:
    # As an array of the value's own dtype: a Python float would be promoted where x64 is on.
    return pair if factor is None else Pair(pair.value * jnp.asarray(factor, pair.value.dtype))
