"""Schedule-free optimizers with a plan: the plan's factors are in the steps, and averaging is one for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optax

from mupwd.optim.gradients import scale_by_plan_gradient
from mupwd.optim.scaling import add_plan_decayed_weights, scale_by_plan_learning_rate

if TYPE_CHECKING:
    from mupwd.plan import Plan


def schedule_free_sgd(plan: Plan, a: Mapping[str, Any]) -> list[optax.GradientTransformation]:
    """`optax.contrib.schedule_free_sgd`: the decay is part of the gradient, as optax has it."""
    decay = [] if a["weight_decay"] is None else [add_plan_decayed_weights(a["weight_decay"], plan)]
    return [_averaged(plan, a, scale_by_plan_gradient(plan), *decay)]


def schedule_free_adamw(plan: Plan, a: Mapping[str, Any]) -> list[optax.GradientTransformation]:
    """`optax.contrib.schedule_free_adamw`."""
    scale = optax.scale_by_rms(decay=a["b2"], eps=a["eps"], eps_in_sqrt=False, bias_correction=True)
    decay = add_plan_decayed_weights(a["weight_decay"], plan)
    return [_averaged(plan, a, scale_by_plan_gradient(plan, "eps"), scale, decay)]


def _averaged(
    plan: Plan, a: Mapping[str, Any], *links: optax.GradientTransformation
) -> optax.GradientTransformation:
    rate = a["learning_rate"]
    if a["warmup_steps"] is not None:
        rate = optax.warmup_constant_schedule(0, rate, a["warmup_steps"])
    return optax.contrib.schedule_free(
        optax.chain(*links, scale_by_plan_learning_rate(rate, plan)),
        # Weights of an average over time, the same for all parameters: the rate without a plan's factors.
        learning_rate=rate,
        b1=a["b1"],
        weight_lr_power=a["weight_lr_power"],
        state_dtype=a["state_dtype"],
    )
