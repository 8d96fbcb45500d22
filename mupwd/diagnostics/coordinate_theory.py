"""What theory predicts at the start of training: how gains and changes of a width-invariant model go with width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from mupwd import recipes
from mupwd.diagnostics.coordinate_uses import Kind
from mupwd.plan import ParameterPlan, Plan
from mupwd.tracing.roles import Role

Quantity = Literal["initial gain", "change", "initial size"]

TOLERANCE = 0.25
"""Half of the least mistake: wrong rules differ from the right one by multiples of 1/2."""


class Powers(NamedTuple):
    """A quantity goes as a power of `m_in` between the two, for theory does not always know more."""

    low: float
    high: float


_FLAT = Powers(0.0, 0.0)
# Random signs: m terms of size 1/m add up to 1/sqrt(m), until training aligns them.
_FALLS = Powers(-0.5, -0.5)
_INITIAL: dict[Role, Powers] = {"output": _FALLS, "narrow": _FALLS}


def powers_of(role: Role, kind: Kind, quantity: Quantity) -> Powers:
    r"""Returns the power of `m_in` that a quantity of a use follows when nothing depends on the width.

    The *initial gain* is rms(W0 x) / rms(x), the *change* rms((W_t - W0) x_t) / rms(x_t), both with the factors
    that the forward pass multiplies by. At the start W0 is independent of x: n products add up to sqrt(n),
    so the gain is sqrt(n) std. Updates are made of x: n products add up to n, so the change is n lr. Hence

    | role | initial gain | change |
    |---|---|---|
    | matrix, std m^-1/2, lr 1/m | 0 | 0 |
    | input, wide, vector, scalar: nothing that grows is summed | 0 | 0 |
    | output, narrow: std 1/m, lr 1/m | -1/2 | 0 |
    | tied, looked up | 0 | 0 |
    | tied, as readout | -1/2 to 0 | 0 |

    A tied readout meets the embedding of the current token in its input, and that product is of size 1 from
    the start; how much it is of the whole depends on the vocabulary.

    Args:
      role: of the parameter.
      kind: what the use is.
      quantity: which of the two.

    Example:
      >>> powers_of("output", "readout", "initial gain")
      Powers(low=-0.5, high=-0.5)

    Source: Tensor Programs V, arXiv 2203.03466, appendix J (the desiderata) and table 8; alignment as in
    Everett et al., arXiv 2407.05872, section 3.
    """
    if quantity == "change":
        return _FLAT
    if role == "tied":
        return Powers(-0.5, 0.0) if kind == "readout" else _FLAT
    return _INITIAL.get(role, _FLAT)


def predicted(plans: Mapping[int, Plan], path: str, kind: Kind, quantity: Quantity) -> tuple[float, float]:
    """Returns the exponents of width, low and high, that a quantity is to have over these widths.

    `m_in` need not grow as the width does (a hidden size that is rounded, or grows faster), so its own growth
    is fitted.

    Args:
      plans: `{width: plan}`.
      path: of the parameter.
      kind: what the use is.
      quantity: which of the two.
    """
    powers = powers_of(next(iter(plans.values()))[path].role, kind, quantity)
    rate = growth_rate({width: plan[path].m_in for width, plan in plans.items()})
    low, high = sorted((powers.low * rate, powers.high * rate))
    return low, high


def growth_rate(sizes: Mapping[int, float]) -> float:
    """Returns the exponent of width by which a size grows.

    Args:
      sizes: `{width: size}`.

    Example:
      >>> growth_rate({32: 8, 64: 16, 128: 32})
      1.0
    """
    x = np.log2(list(sizes))
    x -= x.mean()
    return float(x @ np.log2(list(sizes.values())) / (x @ x))


def forward_factor(planned: ParameterPlan, kind: Kind) -> float:
    """Returns what the forward pass multiplies the product of a use by, up to what does not depend on width.

    That is the plan's forward factor, which `apply_forward` puts behind the product, and the factor of the
    model's own.

    Args:
      planned: of the parameter at a width.
      kind: what the use is.

    Example:
      >>> import jax.numpy as jnp, mupwd
      >>> build = lambda width: (lambda p, x: x @ p["up"] @ p["out"] / width, {
      ...     "up": jnp.ones((3, width)), "out": jnp.ones((width, 2))})
      >>> family = mupwd.family(build, base=64, inputs=(jnp.ones((5, 3)),))
      >>> forward_factor(family.plan(256)["out"], "readout")  # the model divides by the width itself
      0.25
    """
    parameter = planned.parameter
    if planned.role == "tied" and kind == "lookup":
        return planned.m_in**parameter.lookup_scale_exponent
    if planned.role in ("output", "tied"):
        return planned.forward * planned.m_in**parameter.scale_exponent
    growing = planned.m_in if planned.role in ("matrix", "narrow") else planned.m_out
    return growing**parameter.scale_exponent


def rule_in_words(planned: ParameterPlan, plan: Plan, quantity: Quantity) -> str:
    """Returns the rule that a quantity depends on, for a message: what init or learning rate has to be."""
    rule = recipes.get("mupwd").rule(planned.role)
    folded = plan.form == "folded" and planned.role == "output"
    powers = rule.lr if quantity == "change" else rule.init
    assert powers is not None
    formula = (powers * rule.forward if folded else powers).formula
    formula = "the same at every width" if formula == "1" else f"proportional to {formula}"
    forward = (
        "" if folded or rule.forward == recipes.ONE else f", with the forward factor {rule.forward.formula}"
    )
    what = "learning rate" if quantity == "change" else "initial standard deviation"
    return f"by the rule the {what} of this {planned.role} is {formula}{forward}"


def half_steps(deviation: float) -> str:
    """Returns a deviation as a power of width, rounded to what mistakes are multiples of.

    Example:
      >>> half_steps(0.93), half_steps(-0.46)
      ('width', 'width^0.5')
    """
    rounded = max(round(2 * abs(deviation)) / 2, 0.5)
    return "width" if math.isclose(rounded, 1) else f"width^{rounded:g}"
