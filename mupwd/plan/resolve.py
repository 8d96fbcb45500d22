"""make_plan: a recipe's exponents and the ratios of each parameter become numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import logging

from mupwd import recipes
from mupwd.paths import pattern_of
from mupwd.plan.errors import PlanError
from mupwd.plan.match import match
from mupwd.plan.parameter import ParameterPlan
from mupwd.plan.plan import Form, Plan
from mupwd.recipes import Recipe, Rule
from mupwd.scalars import as_float, check_number
from mupwd.tracing.roles import Logits, Parameter


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
    sequence_ratio: float = 1.0,
    logits: Sequence[Logits] = (),
) -> Plan:
    """Applies a recipe to the parameters of a family at a target's shapes.

    A parameter `w` that takes the place of `c · w` in the rule has the same training run under Adam with
    `init / c`, `lr / c`, `wd · c` and `eps · c`. The folded form is `c = m_in` on outputs; where the model's
    own code multiplies the use by `width^s`, `c = m^s` (docs/rules.md).

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
      sequence_ratio: sequence length, target / base. No recipe has a rule for it; tables of learned positions may
        differ by it.
      logits: products of activations over an axis that grows, where the family has any.

    Returns:
      The plan, in the order of `shapes`. A ratio that the recipe has no rule for is logged as a warning, and is in
      `plan.notices`.

    Raises:
      PlanError: shapes that do not fit the family, a ratio that isn't positive and finite, a tied parameter, a
        readout that is normalised or rounded, or logits over a growing head_dim in folded form, logits of several
        sizes on one line of the program, decay patterns that do not match exactly one each, or a depth recipe for a
        deeper model in which no residual branch is known.
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
    depth_ratio, batch_ratio = _ratio("depth_ratio", depth_ratio), _ratio("batch_ratio", batch_ratio)
    token_ratio, sequence_ratio = _ratio("token_ratio", token_ratio), _ratio("sequence_ratio", sequence_ratio)
    target = match(parameters, shapes, depth_ratio=depth_ratio, sequence_ratio=sequence_ratio)
    _check_patterns(rules, target.values())
    if rules.residual.depth and depth_ratio != 1 and not any(p.residual for p in target.values()):
        raise PlanError(
            f"{rules.name} scales what is inside residual branches with depth, but no parameter is known to "
            "be inside one: make the family from the model's function (shapes alone do not show branches), "
            "or use a recipe without depth"
        )
    wrong = tuple(found for found in logits if rules.logits not in (None, found.exponent))
    if wrong and form == "folded":
        raise PlanError(_logits_in_folded_form(wrong[0], rules))
    if mixed := next((found for found in wrong if found.mixed), None):
        raise PlanError(_mixed_logits(mixed))
    run = {"batch": batch_ratio, "tokens": token_ratio}
    plans = tuple(
        _parameter_plan(parameter, tuple(shapes[path]), rules, form, depth_ratio, run)
        for path, parameter in target.items()
    )
    plan = Plan(
        rules=rules,
        form=form,
        base=base,
        width=width,
        depth_ratio=depth_ratio,
        batch_ratio=batch_ratio,
        token_ratio=token_ratio,
        sequence_ratio=sequence_ratio,
        beta_ratio=rules.one_minus_beta.value(**run),
        residual_scale=rules.residual.value(depth=depth_ratio, **run),
        parameters=plans,
        logits=wrong,
    )
    for notice in plan.notices:
        logging.warning("plan: %s", notice)
    return plan


def _ratio(name: str, value: Any) -> float:
    try:
        check_number(name, value, zero=False)
    except (TypeError, ValueError) as error:
        raise PlanError(f"{error}. It is target / base and must be positive and finite") from None
    return as_float(value)


def _parameter_plan(
    parameter: Parameter,
    shape: tuple[int, ...],
    recipe: Recipe,
    form: Form,
    depth_ratio: float,
    run: dict[str, float],
) -> ParameterPlan:
    rule = recipe.rule(parameter.role, parameter.path)
    if form == "folded" and parameter.role == "tied" and rule.forward != recipes.ONE:
        raise PlanError(_tied_in_folded_form(parameter.path))
    if form == "folded" and parameter.altered and rule.forward != recipes.ONE:
        raise PlanError(_altered_in_folded_form(parameter))
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
        gradient_size=rule.gradient.value(**ratios) * gradient,
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
    growing = "m_in" if parameter.role in ("matrix", "narrow") else "m_out"
    return forward, ratios[growing] ** parameter.scale_exponent


def growth(parameter: Parameter, shape: Sequence[int]) -> tuple[float, float]:
    """Returns `(m_in, m_out)` of a parameter at a target shape.

    Args:
      parameter: its axes and its shape at the base.
      shape: at the target.

    Returns:
      Target/base over the growing `in` axes, and over the growing `out` or elementwise ones.

    Example:
      >>> growth(Parameter("up", "matrix", (64, 256), "float32", ("in", "out"), (True, True)), (256, 1024))
      (4.0, 4.0)
    """
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


def _check_patterns(recipe: Recipe, parameters: Iterable[Parameter]) -> None:
    """Every pattern of a recipe's decay exponents matches something, and every matrix is matched once."""
    if not recipe.decay_exponents:
        return
    decayed = [p.path for p in parameters if p.role in recipes.BY_PATTERN]
    if not decayed:
        raise PlanError(
            f"{recipe.name} has decay exponents, but no parameter is a matrix or narrow: none would have one; take a "
            "recipe without them, such as mupwd"
        )
    claims: dict[str, list[str]] = {path: [] for path in decayed}
    for pattern, _ in recipe.decay_exponents:
        matched = [path for path in decayed if re.fullmatch(pattern, path)]
        if not matched:
            raise PlanError(
                f"the pattern {pattern!r} of {recipe.name} matches no matrix or narrow parameter; "
                f"patterns are regular expressions for a whole path, such as {pattern_of(decayed[0])!r}"
            )
        for path in matched:
            claims[path].append(pattern)
    for path, patterns in claims.items():
        if len(patterns) > 1:
            raise PlanError(
                f"{path} is matched by {len(patterns)} patterns of {recipe.name}, exactly one may: "
                f"{', '.join(map(repr, patterns))}"
            )
    if missing := [path for path, patterns in claims.items() if not patterns]:
        raise PlanError(
            f"no pattern of {recipe.name} matches {missing[0]} (and {len(missing) - 1} more matrix or narrow "
            "parameters); add a pattern with its exponent"
        )


def _logits_in_folded_form(found: Logits, rules: Recipe) -> str:
    return (
        f"two activations are contracted at {found.source} over an axis that grows with the width (head_dim, where "
        f"these are attention's logits; {found.size} at the base), and scaled by its size to the power "
        f"{found.exponent:g} where {rules.name} asks for {rules.logits:g}. Three ways out: (1) keep head_dim fixed and "
        "let the number of heads grow; (2) scale the logits by sqrt(base_head_dim) / head_dim in the model, which "
        "equals 1 / sqrt(head_dim) at the base; (3) plan with form='forward' and call mupwd.apply_forward(fn, plan) in "
        "the place of fn. Where it is no logits, as the mixture of experts whose number grows, with weights that sum "
        "to 1, it wants no scale: plan with dataclasses.replace(mupwd.recipes.get(recipe), logits=None)."
    )


def _mixed_logits(found: Logits) -> str:
    return (
        f"activations are contracted at {found.source} over axes of several sizes, or are scaled in several ways, and "
        f"one of the axes grows with the width (head_dim, where these are attention's logits; {found.size} at the "
        "base): the line does not tell which product wants which factor. Scale the logits by "
        "sqrt(base_head_dim) / head_dim in the model, which equals 1 / sqrt(head_dim) at the base, or keep head_dim "
        "fixed"
    )


def _altered_in_folded_form(parameter: Parameter) -> str:
    return (
        f"{parameter.path} is a readout that the program normalises or rounds before it is used at "
        f"{parameter.altered}, so that the logits are not proportional to it: the folded form, which scales the "
        "parameter itself, is impossible. Plan with form='forward' and call mupwd.apply_forward(fn, plan) in the place "
        f"of fn, or multiply the logits by plan.forward.get({parameter.path!r}, 1.0) in the model."
    )


def _tied_in_folded_form(path: str) -> str:
    return (
        f"{path} is both an input and an output (tied), and one array cannot hold two scales: the folded "
        "form is impossible for it. Two ways out: (1) plan with form='forward' and multiply the logits by "
        f"plan.forward.get({path!r}, 1.0) in the model, before any bias, softcap or nonlinearity; (2) plan "
        "with form='forward' and call mupwd.apply_forward(fn, plan) in the place of fn, which multiplies at "
        "that use without a change to the model."
    )
