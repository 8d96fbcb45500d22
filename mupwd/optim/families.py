"""How each of optax's optimizers follows a plan: its own scaling, between gradients in the base's units and our decay
and learning rate.

Four kinds of rule (docs/optimizer.md derives them):

- *normalised*: only eps ties the step to the gradient's size (Adam and its relatives).
- *linear*: the step is proportional to the gradient (SGD), at some time (RAdam's first steps), or is compared with
  numbers of a fixed size (Adagrad's first accumulator).
- *sign*: the gradient's size does not matter.
- *relative*: the step is a share of the parameter's own size (LAMB, Adafactor), which goes as the plan's `init`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import optax

from mupwd.optim.adamw import scale_by_plan_adam
from mupwd.optim.gradients import divide_by, scale_by_plan_gradient
from mupwd.optim.scaling import add_plan_decayed_weights, scale_by_plan_learning_rate

if TYPE_CHECKING:
    from mupwd.plan import Plan

Arguments = Mapping[str, Any]
Kind = Literal["normalised", "linear", "sign", "relative"]


@dataclass(frozen=True)
class Family:
    """How an optimizer follows a plan.

    Attributes:
      kind: of rule.
      links: returns the links of its chain, from the plan and all arguments of its factory.
      betas: whether it scales `1 - beta` where a recipe asks for that.
    """

    kind: Kind
    links: Callable[[Plan, Arguments], list[optax.GradientTransformation]]
    betas: bool = False


def families() -> dict[str, Family]:
    """Returns the families by the names of optax's factories."""
    adam = Family("normalised", _adam, betas=True)
    moments = ("b1", "b2", "eps", "eps_root")
    return {
        "adam": adam,
        "adamw": adam,
        "nadam": adam,
        "nadamw": adam,
        "adamax": _of("normalised", optax.scale_by_adamax, "b1", "b2", "eps"),
        "adamaxw": _of("normalised", optax.scale_by_adamax, "b1", "b2", "eps"),
        "amsgrad": _of(
            "normalised",
            optax.scale_by_amsgrad,
            *moments,
            "mu_dtype",
            "bias_correction_mu",
            "bias_correction_nu",
        ),
        "adabelief": _of("normalised", optax.scale_by_belief, *moments, "nesterov"),
        "adan": _of("normalised", optax.scale_by_adan, "b1", "b2", "b3", "eps", "eps_root"),
        "rmsprop": Family("normalised", _rmsprop),
        "radam": _of("linear", optax.scale_by_radam, *moments, "threshold", "nesterov"),
        "yogi": _of("linear", optax.scale_by_yogi, "b1", "b2", "eps"),
        "adagrad": _of("linear", optax.scale_by_rss, "initial_accumulator_value", "eps"),
        "sgd": Family("linear", _sgd),
        "lion": _of("sign", optax.scale_by_lion, "b1", "b2", "mu_dtype"),
        "sign_sgd": _of("sign", optax.scale_by_sign),
        "signum": Family("sign", _signum),
        "lamb": Family("relative", _lamb),
        "adafactor": Family("relative", _adafactor),
    }


def _of(kind: Kind, scale: Callable[..., optax.GradientTransformation], *names: str) -> Family:
    """A scaling with those arguments of the factory, then decay where the factory has it, and the learning rate."""

    def links(plan: Plan, a: Arguments) -> list[optax.GradientTransformation]:
        core = scale(**{name: a[name] for name in names})
        return [*_units(kind, plan), core, *_decay(plan, a), _rate(plan, a)]

    return Family(kind, links)


def _units(kind: Kind, plan: Plan) -> list[optax.GradientTransformation]:
    if kind == "sign":
        return []
    return [scale_by_plan_gradient(plan, "gradient_size" if kind == "linear" else "eps")]


def _decay(plan: Plan, a: Arguments) -> list[optax.GradientTransformation]:
    return [add_plan_decayed_weights(a["weight_decay"], plan, a["mask"])] if "weight_decay" in a else []


def _rate(plan: Plan, a: Arguments) -> optax.GradientTransformation:
    return scale_by_plan_learning_rate(a["learning_rate"], plan)


def _adam(plan: Plan, a: Arguments) -> list[optax.GradientTransformation]:
    names = ("b1", "b2", "eps", "eps_root", "mu_dtype", "nesterov")
    return [scale_by_plan_adam(plan, **{name: a[name] for name in names}), *_decay(plan, a), _rate(plan, a)]


def _rmsprop(plan: Plan, a: Arguments) -> list[optax.GradientTransformation]:
    names = ("decay", "eps", "initial_scale", "eps_in_sqrt", "bias_correction")
    scale = optax.scale_by_stddev if a["centered"] else optax.scale_by_rms
    # As optax does: momentum after the learning rate, so that a schedule acts on new gradients only.
    after = [] if a["momentum"] is None else [optax.trace(decay=a["momentum"], nesterov=a["nesterov"])]
    return [*_units("normalised", plan), scale(**{name: a[name] for name in names}), _rate(plan, a), *after]


def _sgd(plan: Plan, a: Arguments) -> list[optax.GradientTransformation]:
    momentum = {
        "decay": a["momentum"],
        "nesterov": a["nesterov"],
        "accumulator_dtype": a["accumulator_dtype"],
    }
    core = [] if a["momentum"] is None else [optax.trace(**momentum)]
    return [*_units("linear", plan), *core, _rate(plan, a)]


def _signum(plan: Plan, a: Arguments) -> list[optax.GradientTransformation]:
    average = optax.ema(a["beta"], debias=False, accumulator_dtype=a["accumulator_dtype"])
    return [average, optax.scale_by_sign(), _rate(plan, a)]


def _lamb(plan: Plan, a: Arguments) -> list[optax.GradientTransformation]:
    names = ("b1", "b2", "eps", "eps_root")
    return [
        *_units("relative", plan),
        optax.scale_by_adam(**{name: a[name] for name in names}),
        *_decay(plan, a),
        optax.scale_by_trust_ratio(),
        _per_size(plan),
        _rate(plan, a),
    ]


def _adafactor(plan: Plan, a: Arguments) -> list[optax.GradientTransformation]:
    rate = 1.0 if a["learning_rate"] is None else a["learning_rate"]
    found = [
        *_units("relative", plan),
        optax.scale_by_factored_rms(
            a["factored"], a["decay_rate"], a["decay_offset"], a["min_dim_size_to_factor"], a["eps"]
        ),
    ]
    if a["clipping_threshold"] is not None:
        found.append(optax.clip_by_block_rms(a["clipping_threshold"]))
    found.append(scale_by_plan_learning_rate(rate, plan, flip_sign=False))
    if a["multiply_by_parameter_scale"]:
        found += [optax.scale_by_param_block_rms(), _per_size(plan)]
    if a["momentum"] is not None:
        found.append(optax.ema(a["momentum"], debias=False, accumulator_dtype=a["dtype_momentum"]))
    if a["weight_decay_rate"] is not None:
        # Not per unit of learning rate: a step decays by the rate itself.
        found.append(
            add_plan_decayed_weights(a["weight_decay_rate"], plan, a["weight_decay_mask"], per_step=True)
        )
    return [*found, optax.scale(-1.0)]


def _per_size(plan: Plan) -> optax.GradientTransformation:
    """Takes out of a step that is a share of the parameter's size what that size does with width."""
    return divide_by(plan, lambda one: 1.0 if one.init is None else one.init)
