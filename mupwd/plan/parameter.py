"""One parameter of a plan: its role at the target, and what multiplies its hyperparameters."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mupwd.plan.errors import PlanError
from mupwd.tracing.roles import Parameter, Role

_POSITIVE = ("m_in", "m_out", "lr", "eps", "init", "forward", "gradient", "gradient_size")


@dataclass(frozen=True)
class ParameterPlan:
    """One parameter at the target: its role and what multiplies its hyperparameters.

    All multipliers are relative to the base and exactly 1 at the base.

    Args:
      parameter: what the family knows of it; its shape is the base's.
      shape: at the target.
      m_in: target/base over its growing `in` axes; for a tied parameter over the axis it grows along.
      m_out: target/base over its growing `out` or elementwise axes.
      lr: factor on the learning rate.
      wd: factor on the coupled weight decay (a step decays by `lr * wd * w`); 0 means no decay term at all.
      eps: factor on Adam's epsilon.
      init: the rule's factor on the standard deviation of the base's initial values; None where the recipe
        leaves the model's own initialisation as it is.
      forward: factor that the forward pass must apply to the product with this parameter.
      gradient: how many times larger its gradient is than under the rule in its own form: the width ratio
        for an output in folded form. What mixes parameters (clipping by a global norm) divides by it.
      gradient_size: how large an entry of its gradient is, relative to the base's, in this form.

    Raises:
      PlanError: a multiplier is not positive and finite (0 is one for `wd`), as one that overflows or vanishes.

    Example:
      >>> import numpy as np, mupwd
      >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
      >>> plan = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"}).plan(shapes(32))
      >>> one = plan["up"]
      >>> one.role, one.base_shape, one.shape, one.in_axes, one.m_in, one.lr, one.eps
      ('matrix', (8, 32), (32, 128), (0,), 4.0, 0.25, 0.25)
    """

    parameter: Parameter
    shape: tuple[int, ...]
    m_in: float
    m_out: float
    lr: float
    wd: float
    eps: float
    init: float | None
    forward: float
    gradient: float
    gradient_size: float

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if not (value is None or 0 < value < math.inf):
                raise PlanError(
                    f"{self.path}: its multiplier {name} = {value:g} is no positive finite number, at shape "
                    f"{self.shape} against {self.base_shape} at base; take an exponent or a ratio that is less extreme"
                )
        if not 0 <= self.wd < math.inf:
            raise PlanError(
                f"{self.path}: its multiplier wd = {self.wd:g} is negative or no finite number; take an exponent or a "
                "ratio that is less extreme"
            )

    @property
    def path(self) -> str:
        """Canonical name."""
        return self.parameter.path

    @property
    def role(self) -> Role:
        """What the parameter is for."""
        return self.parameter.role

    @property
    def base_shape(self) -> tuple[int, ...]:
        """Shape at the base width."""
        return self.parameter.shape

    @property
    def dtype(self) -> str:
        """Name of its dtype."""
        return self.parameter.dtype

    @property
    def in_axes(self) -> tuple[int, ...]:
        """Axes that a contraction sums over."""
        return self.parameter.in_axes

    @property
    def out_axes(self) -> tuple[int, ...]:
        """Axes that survive in the result."""
        return self.parameter.out_axes

    @property
    def stack_axes(self) -> tuple[int, ...]:
        """Axes that enumerate copies."""
        return self.parameter.stack_axes
