"""Runs a program with factors multiplied into the results of some of its equations.

Everything else is bound as it stands, so that what the factors do not touch compiles to the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.extend.core import Literal

from mupwd.tracing.errors import TraceError
from mupwd.tracing.jaxprs import body_of, opened, scan_counts, source_line
from mupwd.tracing.values import Location

# Calls that only group equations: their body can stand in their place.
_TRANSPARENT = {"closed_call", "core_call", "named_call", "noinline"}


def interpret(
    jaxpr: Any,
    inputs: Sequence[Any],
    results: Mapping[Location, float],
    operands: Mapping[tuple[Location, int], float],
    location: Location = (),
) -> list[Any]:
    """Evaluates a jaxpr, scaling what equations give and take.

    Args:
      jaxpr: open or closed.
      inputs: one per input variable.
      results: factor on the first result of the equation at a location.
      operands: factor on an operand of the equation at a location.
      location: of the jaxpr inside the whole program.

    Raises:
      TraceError: a factor lies inside a construct whose derivative the program defines itself.
    """
    jaxpr, consts = opened(jaxpr)
    env: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    env |= dict(zip(jaxpr.invars, inputs, strict=True))
    touched = {place[: len(location) + 1] for place in (*results, *(where for where, _ in operands))}

    def read(var: Any) -> Any:
        return var.val if isinstance(var, Literal) else env[var]

    for index, eqn in enumerate(jaxpr.eqns):
        here = (*location, index)
        values = [read(v) for v in eqn.invars]
        if here not in touched:
            outputs = _bound(eqn, values)
        else:
            for slot in range(len(values)):
                values[slot] = _scaled(values[slot], operands.get((here, slot)))
            if any(place != here and place[: len(here)] == here for place in _places(results, operands)):
                outputs = _inside(eqn, values, here, results, operands)
            else:
                outputs = _bound(eqn, values)
            outputs[0] = _scaled(outputs[0], results.get(here))
        env |= dict(zip(eqn.outvars, outputs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _places(
    results: Mapping[Location, float], operands: Mapping[tuple[Location, int], float]
) -> set[Location]:
    return {*results, *(where for where, _ in operands)}


def _scaled(value: Any, factor: float | None) -> Any:
    # As an array of the value's own dtype: a Python float would be promoted where x64 is on.
    return value if factor is None else value * jax.numpy.asarray(factor, value.dtype)


def _bound(eqn: Any, values: Sequence[Any]) -> list[Any]:
    with eqn.ctx.manager:
        outputs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def _inside(
    eqn: Any,
    values: list[Any],
    here: Location,
    results: Mapping[Location, float],
    operands: Mapping[tuple[Location, int], float],
) -> list[Any]:
    """Evaluates an equation that holds jaxprs with factors in them."""
    name, params = eqn.primitive.name, eqn.params

    def run(body: Any, place: Location) -> Callable[..., Any]:
        return lambda *args: interpret(body, args, results, operands, place)

    body = body_of(eqn)
    if name in _TRANSPARENT:
        return run(body, here)(*values)
    if name in ("jit", "pjit"):
        return list(jax.jit(run(body, here))(*values))
    if name in ("remat", "remat2", "checkpoint"):
        again = jax.checkpoint(run(body, here), prevent_cse=params["prevent_cse"], policy=params["policy"])
        return list(again(*values))
    if name == "shard_map":
        mapped = jax.shard_map(
            lambda *args: tuple(run(body, here)(*args)),
            mesh=params["mesh"],
            in_specs=tuple(params["in_specs"]),
            out_specs=tuple(params["out_specs"]),
            axis_names=set(params["newly_manual_axes"]),
            check_vma=params["check_vma"],
        )
        return list(mapped(*values))
    if name == "scan":
        n_consts, n_carry = scan_counts(eqn)
        consts, carry, rows = (
            values[:n_consts],
            values[n_consts : n_consts + n_carry],
            values[n_consts + n_carry :],
        )

        def step(state: Any, row: Any) -> tuple[Any, Any]:
            out = run(body, here)(*consts, *state, *row)
            return tuple(out[:n_carry]), tuple(out[n_carry:])

        last, stacked = jax.lax.scan(
            step,
            tuple(carry),
            tuple(rows),
            length=params["length"],
            reverse=params["reverse"],
            unroll=params["unroll"],
        )
        return [*last, *stacked]
    if name == "while":
        n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
        cond_consts, body_consts = values[:n_cond], values[n_cond : n_cond + n_body]
        return list(
            jax.lax.while_loop(
                lambda state: run(params["cond_jaxpr"], (*here, "cond"))(*cond_consts, *state)[0],
                lambda state: tuple(run(params["body_jaxpr"], here)(*body_consts, *state)),
                tuple(values[n_cond + n_body :]),
            )
        )
    if name == "cond":
        branches = [run(branch, (*here, i)) for i, branch in enumerate(params["branches"])]
        return list(jax.lax.switch(values[0], branches, *values[1:]))
    raise TraceError(
        f"a factor lies inside {name!r} at {source_line(eqn)}, whose derivative the program defines itself: multiply "
        "there by hand, in the model"
    )
