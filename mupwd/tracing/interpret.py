"""Runs a program again, with visitors at some of its equations.

A visitor stands in for the evaluation of one equation: it may change what the equation takes and gives, and
record numbers, which are carried out of loops, branches and calls beside the program's own results. Everything
else is bound as it stands, so that what no visitor touches compiles to the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from mupwd.tracing.errors import TraceError
from mupwd.tracing.jaxprs import body_of, opened, scan_counts, source_line, written_as
from mupwd.tracing.values import Location

# Calls that only group equations: their body can stand in their place.
_TRANSPARENT = {"closed_call", "core_call", "named_call", "noinline"}


class Pair(NamedTuple):
    """A value of the program, and what it would be with the reference parameters where they change it."""

    value: Any
    reference: Any = None

    @property
    def other(self) -> Any:
        return self.value if self.reference is None else self.reference


# By the visitors' own numbers: sums over executions. A loop adds its steps up, or stacks them along a leading axis.
Entries = dict[int, Any]
# evaluate(operands) -> (results, entries of the equations inside)
Evaluate = Callable[[list[Pair]], tuple[list[Pair], Entries]]
# visitor(equation, operands, evaluate) -> (results, entries)
Visitor = Callable[[Any, list[Pair], Evaluate], tuple[list[Pair], Entries]]


@dataclass(frozen=True)
class Interpreter:
    """An evaluation of a jaxpr.

    Args:
      visitors: by the location of the equation that each stands in for.
      functions: results, by (location, index), that have a reference where one of their operands has.
      stacks: whether a scan at a location keeps the steps of an entry apart; it adds them up by default.
      changes: whether visitors change results, so that they cannot be where a program defines the derivative
        itself; visitors that only record can.
    """

    visitors: Mapping[Location, Visitor]
    functions: Set[tuple[Location, int]] = frozenset()
    stacks: Callable[[Location, int], bool] = lambda scan, entry: False
    changes: bool = False
    _inner: frozenset[Location] = field(init=False)  # equations with visitors inside

    def __post_init__(self) -> None:
        inner = {place[:n] for place in self.visitors for n in range(1, len(place))}
        object.__setattr__(self, "_inner", frozenset(inner))

    def run(self, jaxpr: Any, inputs: Sequence[Pair], location: Location = ()) -> tuple[list[Pair], Entries]:
        """Evaluates a jaxpr.

        Args:
          jaxpr: open or closed.
          inputs: one per input variable.
          location: of the jaxpr inside the whole program.

        Returns:
          The results, and what visitors recorded.

        Raises:
          TraceError: a visitor would change what is inside a construct whose derivative the program defines.
        """
        jaxpr, consts = opened(jaxpr)
        env: dict[Any, Pair] = dict(zip(jaxpr.constvars, map(Pair, consts), strict=True))
        env |= dict(zip(jaxpr.invars, inputs, strict=True))
        entries: Entries = {}

        def read(var: Any) -> Pair:
            return Pair(var.val) if isinstance(var, Literal) else env[var]

        for index, eqn in enumerate(jaxpr.eqns):
            here = (*location, index)
            operands = [read(v) for v in eqn.invars]

            def evaluate(operands: list[Pair], eqn: Any = eqn, here: Location = here) -> Any:
                if here in self._inner:
                    return self._inside(eqn, operands, here)
                return self._bound(eqn, operands, here), {}

            visitor = self.visitors.get(here)
            with written_as(eqn):
                outputs, recorded = visitor(eqn, operands, evaluate) if visitor else evaluate(operands)
            entries |= recorded
            env |= dict(zip(eqn.outvars, outputs, strict=True))
        return [read(v) for v in jaxpr.outvars], entries

    def _bound(self, eqn: Any, operands: list[Pair], here: Location) -> list[Pair]:
        outputs = bind(eqn, [pair.value for pair in operands])
        wanted = [(here, i) in self.functions for i in range(len(outputs))]
        if not any(wanted) or all(pair.reference is None for pair in operands):
            return list(map(Pair, outputs))
        # Nobody asks for the derivative of what is only compared with.
        others = bind(eqn, [jax.lax.stop_gradient(pair.other) for pair in operands])
        return [Pair(v, o if want else None) for v, o, want in zip(outputs, others, wanted, strict=True)]

    def _fitted(self, outputs: Sequence[Pair], here: Location, first: int, like: bool) -> tuple[Pair, ...]:
        """Results with a reference exactly where one is expected: loops and branches need one structure."""
        return tuple(
            Pair(pair.value, pair.other if like and (here, first + i) in self.functions else None)
            for i, pair in enumerate(outputs)
        )

    def _inside(self, eqn: Any, operands: list[Pair], here: Location) -> tuple[list[Pair], Entries]:
        """Evaluates an equation that holds jaxprs with visitors in them."""
        name, params = eqn.primitive.name, eqn.params

        def run(body: Any, place: Location) -> Callable[..., tuple[list[Pair], Entries]]:
            return lambda *args: self.run(body, args, place)

        body = body_of(eqn)
        if name in _TRANSPARENT:
            return run(body, here)(*operands)
        if name in ("jit", "pjit"):
            return jax.jit(run(body, here))(*operands)
        if name in ("remat", "remat2", "checkpoint"):
            return jax.checkpoint(
                run(body, here), prevent_cse=params["prevent_cse"], policy=params["policy"]
            )(*operands)
        match name:
            case "shard_map":
                return self._shard_map(eqn, operands, run(body, here))
            case "scan":
                return self._scan(eqn, operands, here, run(body, here))
            case "while":
                return self._while(eqn, operands, here)
            case "cond":
                return self._cond(eqn, operands, here)
        if self.changes:
            raise TraceError(
                f"a factor lies inside {name!r} at {source_line(eqn)}, whose derivative the program defines itself: "
                "multiply there by hand, in the model"
            )
        # The program's own derivative is kept: the body runs once more for what is recorded, and XLA merges the two.
        aside = [Pair(*map(jax.lax.stop_gradient, pair)) for pair in operands]
        return self._bound(eqn, operands, here), run(body, here)(*aside)[1]

    def _shard_map(self, eqn: Any, operands: list[Pair], body: Callable[..., Any]) -> Any:
        params = eqn.params
        # In the mesh's order: every process has to write the same collective.
        axes = tuple(axis for axis in params["mesh"].axis_names if axis in params["newly_manual_axes"])

        def mapped(*args: Pair) -> Any:
            outputs, entries = body(*args)
            return tuple(outputs), jax.tree.map(lambda x: jax.lax.pmean(_varying(x), axes), entries)

        outputs, entries = jax.shard_map(
            mapped,
            mesh=params["mesh"],
            in_specs=tuple(params["in_specs"]),
            out_specs=(tuple(params["out_specs"]), jax.sharding.PartitionSpec()),
            axis_names=set(axes),
            check_vma=params["check_vma"],
        )(*operands)
        return list(outputs), entries

    def _scan(self, eqn: Any, operands: list[Pair], here: Location, body: Callable[..., Any]) -> Any:
        params = eqn.params
        n_consts, n_carry = scan_counts(eqn)
        consts, rows = operands[:n_consts], operands[n_consts + n_carry :]
        given = any(pair.reference is not None for pair in operands)
        carry = self._fitted(operands[n_consts : n_consts + n_carry], here, 0, given)

        def step(state: Any, row: Any) -> tuple[Any, Any]:
            out, entries = body(*consts, *state, *row)
            stacked = self._fitted(out[n_carry:], here, n_carry, given)
            return self._fitted(out[:n_carry], here, 0, given), (stacked, entries)

        last, (stacked, entries) = jax.lax.scan(
            step,
            carry,
            tuple(rows),
            length=params["length"],
            reverse=params["reverse"],
            unroll=params["unroll"],
        )
        entries = {
            number: entry if self.stacks(here, number) else jnp.sum(entry, axis=0)
            for number, entry in entries.items()
        }
        return [*last, *stacked], entries

    def _while(self, eqn: Any, operands: list[Pair], here: Location) -> Any:
        params = eqn.params
        n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
        cond_consts, body_consts = operands[:n_cond], operands[n_cond : n_cond + n_body]
        given = any(pair.reference is not None for pair in operands)
        start = self._fitted(operands[n_cond + n_body :], here, 0, given)

        def condition(carry: Any) -> Any:
            outputs, _ = self.run(params["cond_jaxpr"], [*cond_consts, *carry[0]], (*here, "cond"))
            return outputs[0].value

        def step(state: Any) -> Any:
            outputs, entries = self.run(params["body_jaxpr"], [*body_consts, *state], here)
            return self._fitted(outputs, here, 0, given), entries

        none_yet = _nothing(jax.eval_shape(step, start)[1])

        def body(carry: Any) -> Any:
            state, entries = step(carry[0])
            return state, jax.tree.map(lambda a, b: _varying(a + b), carry[1], entries)

        state, entries = jax.lax.while_loop(condition, body, (start, none_yet))
        return list(state), entries

    def _cond(self, eqn: Any, operands: list[Pair], here: Location) -> Any:
        given = any(pair.reference is not None for pair in operands)

        def branch_of(index: int, body: Any) -> Callable[..., Any]:
            def branch(*args: Pair) -> Any:
                outputs, entries = self.run(body, args, (*here, index))
                return self._fitted(outputs, here, 0, given), entries

            return branch

        branches = [branch_of(i, body) for i, body in enumerate(eqn.params["branches"])]
        all_entries: Entries = {}
        for branch in branches:
            all_entries |= jax.eval_shape(branch, *operands[1:])[1]

        def padded(branch: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Pair) -> Any:
                outputs, entries = branch(*args)
                return outputs, _nothing(all_entries) | jax.tree.map(_varying, entries)

            return run

        outputs, entries = jax.lax.switch(operands[0].value, list(map(padded, branches)), *operands[1:])
        return list(outputs), entries


def bind(eqn: Any, values: Sequence[Any]) -> list[Any]:
    """Evaluates one equation on other operands."""
    with eqn.ctx.manager:
        outputs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def _nothing(shapes: Any) -> Any:
    return jax.tree.map(lambda leaf: _varying(jnp.zeros(leaf.shape, leaf.dtype)), shapes)


def _varying(x: Any) -> Any:
    """Inside of shard_map, loops and branches need values that vary over the same axes of the mesh."""
    axes = set(jax.sharding.get_abstract_mesh().manual_axes) - jax.typeof(x).mat.varying
    return jax.lax.pcast(x, tuple(axes), to="varying") if axes else x
