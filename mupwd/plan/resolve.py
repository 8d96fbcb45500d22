"""make_plan: a recipe's exponents and the ratios of each parameter become numbers."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

from mupwd import recipes
from mupwd.plan.errors import PlanError
from mupwd.plan.match import match
from mupwd.plan.plan import Form, ParameterPlan, Plan
from mupwd.recipes import Powers, Recipe, Rule
from mupwd.tracing.roles import Parameter

_DECAYED = ("matrix", "narrow")


def make_plan(
    parameters: Mapping[str, Parameter],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    recipe: str | Recipe = "mupwd",
    form: Form = "folded",
    base: int | None = None,
    width: int | None = None,
    depth_ratio: float = 1.0,
    batch_ratio: float = 1.0,
    token_ratio: float = 1.0,
) -> Plan:
    """Applies a recipe to the parameters of a family at a target's shapes.

    With `m = m_in`, `c` the parameter's gradient factor and `r = m^s` where the model itself multiplies the use by
    `width^s`: a parameter that stands for `w = c · w'` in place of `w'` has the same training run under Adam
    when `init' = init / c`, `lr' = lr / c`, `wd' = wd · c`, `eps' = eps · c`. The folded form is `c = m` on
    outputs; a factor of the model's own is `c = r` (docs/rules.md).

    Args:
      parameters: the family's parameters at base, by path.
      shapes: the target's shapes, by path.
      recipe: a name or a `Recipe`.
      form: `"folded"`, which leaves the model untouched, or `"forward"`, where the forward pass multiplies by
        `plan.forward`.
      base: the base's width, for display.
      width: the target's width, for display.
      depth_ratio: number of layers, target / base; needed where it differs.
      batch_ratio: batch size, target / base.
      token_ratio: training tokens, target / base.

    Returns:
      The plan, in the order of `shapes`.

    Raises:
      PlanError: shapes that do not fit the family, a ratio that isn't positive and finite, a tied parameter
        in folded form, or decay patterns that do not match exactly one each.
      ValueError: a recipe that doesn't exist.

    Example:
      >>> up = Parameter("up", "matrix", (64, 256), "float32", ("in", "out"), (True, True))
      >>> plan = make_plan({"up": up}, {"up": (256, 1024)})
      >>> plan["up"].lr, plan["up"].wd, plan["up"].init
      (0.25, 2.0, 0.5)

    Source: docs/rules.md, per recipe.
    """
    rules = recipes.get(recipe)
    if form not in ("folded", "forward"):
        raise PlanError(f"form={form!r}: there are 'folded' (the model is untouched) and 'forward'")
    ratios = {"depth_ratio": depth_ratio, "batch_ratio": batch_ratio, "token_ratio": token_ratio}
    for name, ratio in ratios.items():
        if not (math.isfinite(ratio) and ratio > 0):
            raise PlanError(f"{name}={ratio}: it is target / base and must be positive and finite")

    target = match(parameters, shapes, depth_ratio=float(depth_ratio))
    decays = _decay_powers(rules, list(target.values()))
    run = {"batch": float(batch_ratio), "tokens": float(token_ratio)}
    plans = tuple(
        _parameter_plan(
            parameter, tuple(shapes[path]), decays.get(path), rules, form, float(depth_ratio), run
        )
        for path, parameter in target.items()
    )
    return Plan(
        rules=rules,
        form=form,
        base=base,
        width=width,
        depth_ratio=float(depth_ratio),
        batch_ratio=float(batch_ratio),
        token_ratio=float(token_ratio),
        beta_ratio=rules.one_minus_beta.value(**run),
        residual_multiplier=rules.residual.value(depth=float(depth_ratio), **run),
        parameters=plans,
    )


def _parameter_plan(
    parameter: Parameter,
    shape: tuple[int, ...],
    decay: Powers | None,
    recipe: Recipe,
    form: Form,
    depth_ratio: float,
    run: dict[str, float],
) -> ParameterPlan:
    rule = recipe.rule(parameter.role)
    if decay is not None:
        rule = dataclasses.replace(rule, wd=decay)
    if form == "folded" and parameter.role == "tied" and rule.forward != recipes.ONE:
        raise PlanError(_tied_in_folded_form(parameter.path))
    m_in, m_out = growth(parameter, shape)
    ratios = {"m_in": m_in, "m_out": m_out, "depth": depth_ratio if parameter.residual else 1.0, **run}
    forward, gradient = _forward_and_gradient(rule, parameter, rule.forward.value(**ratios), ratios)
    if form == "folded":
        forward, gradient = 1.0, gradient / forward
    return ParameterPlan(
        parameter=parameter,
        shape=shape,
        m_in=m_in,
        m_out=m_out,
        lr=rule.lr.value(**ratios) / gradient,
        wd=0.0 if rule.wd is None else rule.wd.value(**ratios) * gradient,
        eps=rule.eps.value(**ratios) * gradient,
        init=None if rule.init is None else rule.init.value(**ratios) / gradient,
        forward=forward,
        gradient=gradient,
    )


def _forward_and_gradient(
    rule: Rule, parameter: Parameter, forward: float, ratios: dict[str, float]
) -> tuple[float, float]:
    """What the model's own factor `width^s` leaves to the forward factor, and what to the parameter."""
    if rule.init is None:
        return forward, 1.0
    if parameter.role in ("output", "tied"):
        # The model already does a part of the forward factor at that very place.
        gradient = ratios["m_in"] ** parameter.lookup_scale_exponent
        return forward * gradient / ratios["m_in"] ** parameter.scale_exponent, gradient
    growing = "m_in" if parameter.role in _DECAYED else "m_out"
    return forward, ratios[growing] ** parameter.scale_exponent


def growth(parameter: Parameter, shape: Sequence[int]) -> tuple[float, float]:
    """Returns `(m_in, m_out)` of a parameter at a target shape."""
    words = [set(axis.split("+")) for axis in parameter.axes]
    ratios = [
        new / old if grows and old else 1.0
        for new, old, grows in zip(shape, parameter.shape, parameter.growing, strict=True)
    ]

    def product(*counted: str) -> float:
        return math.prod((r for r, w in zip(ratios, words, strict=True) if w & set(counted)), start=1.0)

    if parameter.role == "vector":
        return 1.0, math.prod(ratios, start=1.0)
    m_in, m_out = product("in"), product("out", "elementwise")
    return (m_out, m_out) if parameter.role == "tied" else (m_in, m_out)


def _decay_powers(recipe: Recipe, parameters: Sequence[Parameter]) -> dict[str, Powers]:
    """The weight decay powers of a recipe that has them by path pattern."""
    if not recipe.decay_exponents:
        return {}
    decayed = [p for p in parameters if p.role in _DECAYED]
    claimed: dict[str, tuple[str, float]] = {}
    for pattern, exponent in recipe.decay_exponents:
        matched = [p.path for p in decayed if re.fullmatch(pattern, p.path)]
        if not matched:
            raise PlanError(
                f"the pattern {pattern!r} of {recipe.name} matches no matrix or narrow parameter; patterns "
                f"are regular expressions that match a whole path, such as {decayed[0].path!r}"
                if decayed
                else f"{recipe.name} has decay exponents, but no parameter is a matrix or narrow"
            )
        for path in matched:
            if path in claimed:
                raise PlanError(
                    f"{path} is matched by two patterns of {recipe.name}: {claimed[path][0]!r} and {pattern!r}"
                )
            claimed[path] = (pattern, exponent)
    if missing := [p.path for p in decayed if p.path not in claimed]:
        raise PlanError(
            f"no pattern of {recipe.name} matches {missing[0]} ({len(missing)} such matrix or narrow "
            "parameters); add a pattern with its exponent"
        )
    wd = {role: recipe.rule(role).wd or recipes.ONE for role in _DECAYED}
    return {p.path: dataclasses.replace(wd[p.role], m_in=claimed[p.path][1]) for p in decayed}


def _tied_in_folded_form(path: str) -> str:
    return (
        f"{path} is both an input and an output (tied), and one array cannot hold two scales: the folded "
        "form is impossible for it. Two ways out: (1) plan with form='forward' and multiply the logits by "
        f"plan.forward.get({path!r}, 1.0) in the model, before any bias, softcap or nonlinearity; (2) plan "
        "with form='forward' and call mupwd.apply_forward(fn, plan) in the place of fn, which multiplies at "
        "that use without a change to the model."
    )
