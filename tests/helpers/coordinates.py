"""Coordinate checks with planted mistakes, all on one compiled program per width."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import mupwd
from mupwd.diagnostics.coordinate_result import CoordinateCheck, judged
from mupwd.diagnostics.coordinate_runs import Batches, Program, prepared, stacked
from mupwd.family import Family
from mupwd.family.models import parameters_of
from mupwd.paths import map_named
from mupwd.plan import ParameterPlan, Plan

Factor = Callable[[ParameterPlan], float]


class SteeredState(NamedTuple):
    inner: Any
    factors: Any


def steered(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer whose updates are multiplied by factors in its state: other factors, same program."""

    def init(params: Any) -> SteeredState:
        return SteeredState(inner.init(params), jax.tree.map(lambda _: jnp.float32(1), params))

    def update(updates: Any, state: SteeredState, params: Any = None) -> tuple[Any, SteeredState]:
        updates, new = inner.update(updates, state.inner, params)
        return jax.tree.map(lambda u, f: u * f, updates, state.factors), SteeredState(new, state.factors)

    return optax.GradientTransformation(init, update)


class Bench:
    """A family whose mistakes are checked without compiling again."""

    def __init__(
        self,
        family: Family,
        batches: Batches,
        loss: Callable[[Any, Any], Any],
        *,
        learning_rate: float,
        widths: Sequence[int],
        seeds: int = 4,
        steps: int = 4,
        form: Any = "folded",
        recipe: str = "mupwd",
        weight_decay: float = 0.0,
        eps: float = 1e-8,
    ):
        self.plans: dict[int, Plan] = {w: family.plan(w, form=form, recipe=recipe) for w in widths}
        self.programs: dict[int, Program] = {}
        for width, plan in self.plans.items():
            inner = mupwd.adamw(learning_rate, plan, weight_decay=weight_decay, eps=eps)
            self.programs[width] = prepared(family, width, plan, loss, steered(inner))
        self.data = [stacked(batches, seed, steps) for seed in range(seeds)]
        self.uses = {width: program.uses(self.data[0]) for width, program in self.programs.items()}
        self.starts = {
            width: [
                parameters_of(family.init(width, seed, plan=plan), family.parameters) for seed in range(seeds)
            ]
            for width, plan in self.plans.items()
        }

    def check(
        self, *, lr: Mapping[str, Factor] | None = None, init: Mapping[str, Factor] | None = None
    ) -> CoordinateCheck:
        """The check of the right set-up with learning rates and initial values multiplied by wrong factors."""
        rates, scales = lr or {}, init or {}
        assert {*rates, *scales} <= set(next(iter(self.plans.values())))
        runs = {}
        for width, program in self.programs.items():
            plan, runs[width] = self.plans[width], []
            for start, data in zip(self.starts[width], self.data, strict=True):
                start = _multiplied(start, scales, plan)
                state = program.transform.init(start)
                factors = _multiplied(state.factors, rates, plan)
                runs[width].append(program.measure(start, data, SteeredState(state.inner, factors)))
        return judged(runs, self.plans, self.uses)


def _multiplied(tree: Any, factors: Mapping[str, Factor], plan: Plan) -> Any:
    return map_named(
        lambda path, x: x * jnp.float32(factors[path](plan[path]) if path in factors else 1), tree
    )
