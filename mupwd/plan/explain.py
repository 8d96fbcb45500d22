"""Why a parameter has its role, and where each of its multipliers comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mupwd.plan.layers import shown
from mupwd.plan.table import number, shapes
from mupwd.recipes import ONE

if TYPE_CHECKING:
    from mupwd.plan.parameter import ParameterPlan
    from mupwd.plan.plan import Plan

_ROLES = {
    "matrix": "it contracts one growing axis into another (a hidden weight)",
    "input": "only its output grows with width, and data goes in",
    "output": "only its input grows, and what comes out meets no other growing axis (the readout)",
    "narrow": "only its input grows, and what comes out is used inside the network",
    "wide": "only its output grows, and what goes in comes from inside the network",
    "vector": "it acts elementwise along a growing axis",
    "scalar": "none of its axes grows",
    "tied": "it is used both as an input and as an output",
    "unused": "the model does not use it",
}


def explain(plan: Plan, p: ParameterPlan) -> str:
    """Formats one parameter; see `Plan.explain`."""
    lines = [
        f"{shown(p.path)}: {p.role}, {p.dtype}, {shapes(p.base_shape, p.shape)}",
        f"It is {_article(p.role)} {p.role} parameter: {_ROLES[p.role]}.",
        *_axes(p),
        *(f"  use: {use}" for use in p.parameter.uses),
        *_growth(p),
        f"Recipe {plan.recipe} ({plan.rules.source}), {plan.form} form:",
        *_multipliers(plan, p),
    ]
    return "\n".join(lines)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _axes(p: ParameterPlan) -> list[str]:
    lines = []
    for axis, (word, grows) in enumerate(zip(p.parameter.axes, p.parameter.growing, strict=True)):
        old, new = p.base_shape[axis], p.shape[axis]
        size = f"{old} at base, {new} at the target" if old != new else f"{old}"
        lines.append(f"  axis {axis}: {word}, {'grows' if grows else 'fixed'} ({size})")
    return lines


def _growth(p: ParameterPlan) -> list[str]:
    lines = [f"m_in = {number(p.m_in)}, m_out = {number(p.m_out)}: target / base over its growing axes."]
    if p.role == "tied":
        lines[0] = f"m_in = {number(p.m_in)}: target / base over the axis that grows, its input as output."
    for exponent, use in (
        (p.parameter.scale_exponent, "its use"),
        (p.parameter.lookup_scale_exponent, "its use as input"),
    ):
        if exponent:
            lines.append(
                f"The model itself multiplies {use} by width^{exponent:g}; that is counted in below."
            )
    if p.parameter.residual:
        lines.append("It is inside a residual branch, so powers of the depth ratio L apply.")
    return lines


def _multipliers(plan: Plan, p: ParameterPlan) -> list[str]:
    rule = plan.rules.rule(p.role, p.path)
    down = f" ÷ {number(p.gradient)}" if p.gradient != 1 else ""
    up = f" × {number(p.gradient)}" if p.gradient != 1 else ""
    lines = [f"  lr × {number(p.lr)} = {rule.lr.formula}{down}"]
    if rule.wd is None:
        lines.append("  wd: none; this role has no decay term under the recipe")
    else:
        lines.append(f"  wd × {number(p.wd)} = {rule.wd.formula}{up} (coupled: a step decays by lr * wd * w)")
    lines.append(f"  eps × {number(p.eps)} = {rule.eps.formula}{up}")
    if rule.init is None or p.init is None:
        lines.append("  init: the model's own, untouched")
    else:
        lines.append(
            f"  init × {number(p.init)} = {rule.init.formula}{down}, on the base's standard deviation"
        )
    if rule.forward != ONE and plan.form == "folded":
        lines.append(
            f"  The rule's forward factor {rule.forward.formula} is folded into the parameter, so that the "
            f"model is untouched. Its gradient is {number(p.gradient)} times that of the forward form, which "
            "the numbers above count in; clip with mupwd.clip_by_global_norm."
        )
        return lines
    if rule.forward != ONE:
        run = {"depth": plan.depth_ratio, "batch": plan.batch_ratio, "tokens": plan.token_ratio}
        own = p.forward / rule.forward.value(m_in=p.m_in, m_out=p.m_out, **run)
        rest = f" × {number(own)} for its own factors" if own != 1 else ""
        lines.append(
            f"  forward × {number(p.forward)} = {rule.forward.formula}{rest}, for the model to apply"
        )
    if p.gradient != 1:
        lines.append(
            f"  Because of the model's own factor the gradient is {number(p.gradient)} times that of the "
            "rule, which the numbers above count in."
        )
    return lines
