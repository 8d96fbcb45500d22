"""The chains of single optimizers: each as in optax, with gradients in the base's units, our decay and rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import jax
import optax

from mupwd.optim.adamw import scale_by_plan_adam
from mupwd.optim.checks import find, map_updates, times
from mupwd.optim.gradients import divide_by, scale_by_plan_gradient
from mupwd.optim.groups import grouped, scaled
from mupwd.optim.scaling import add_decayed_weights_by, add_plan_decayed_weights, scale_by_plan_learning_rate

if TYPE_CHECKING:
    from mupwd.plan import ParameterPlan, Plan

Arguments = Mapping[str, Any]
Links = list[optax.GradientTransformation]
Kind = Literal["normalised", "linear", "sign"]


def units(kind: Kind, plan: Plan) -> Links:
    """Gradients in the base's units, as far as the kind needs them."""
    if kind == "sign":
        return []
    return [scale_by_plan_gradient(plan, "gradient_size" if kind == "linear" else "eps")]


def decay(plan: Plan, a: Arguments) -> Links:
    """Decoupled decay, where the factory has any."""
    return [add_plan_decayed_weights(a["weight_decay"], plan, a["mask"])] if "weight_decay" in a else []


def rate(plan: Plan, a: Arguments) -> optax.GradientTransformation:
    """The learning rate, with the plan's factors."""
    return scale_by_plan_learning_rate(a["learning_rate"], plan)


def adam(plan: Plan, a: Arguments) -> Links:
    """adam, adamw, nadam, nadamw."""
    return [_plan_adam(plan, a), *decay(plan, a), rate(plan, a)]


def optimistic_adam(plan: Plan, a: Arguments) -> Links:
    """optimistic_adam_v2."""
    optimistic = optax.scale_by_optimistic_gradient(alpha=a["alpha"], beta=a["beta"])
    return [_plan_adam(plan, a), optimistic, rate(plan, a)]


def _plan_adam(plan: Plan, a: Arguments) -> optax.GradientTransformation:
    names = ("b1", "b2", "eps", "eps_root", "mu_dtype", "nesterov")
    return scale_by_plan_adam(plan, **{name: a[name] for name in names})


def rmsprop(plan: Plan, a: Arguments) -> Links:
    """rmsprop."""
    names = ("decay", "eps", "initial_scale", "eps_in_sqrt", "bias_correction")
    scale = optax.scale_by_stddev if a["centered"] else optax.scale_by_rms
    # As optax does: momentum after the learning rate, so that a schedule acts on new gradients only.
    after = [] if a["momentum"] is None else [optax.trace(decay=a["momentum"], nesterov=a["nesterov"])]
    return [*units("normalised", plan), scale(**{name: a[name] for name in names}), rate(plan, a), *after]


def sgd(plan: Plan, a: Arguments) -> Links:
    """sgd."""
    momentum = {
        "decay": a["momentum"],
        "nesterov": a["nesterov"],
        "accumulator_dtype": a["accumulator_dtype"],
    }
    core = [] if a["momentum"] is None else [optax.trace(**momentum)]
    return [*units("linear", plan), *core, rate(plan, a)]


def signum(plan: Plan, a: Arguments) -> Links:
    """signum."""
    average = optax.ema(a["beta"], debias=False, accumulator_dtype=a["accumulator_dtype"])
    return [average, optax.scale_by_sign(), rate(plan, a)]


def rprop(plan: Plan, a: Arguments) -> Links:
    """rprop: its own step sizes, which start at the learning rate, and their limits are the base's."""
    names = ("learning_rate", "eta_minus", "eta_plus", "min_step_size", "max_step_size")
    return [optax.scale_by_rprop(**{name: a[name] for name in names}), scale_by_plan_learning_rate(1.0, plan)]


def adadelta(plan: Plan, a: Arguments) -> Links:
    """adadelta: the decay is part of the gradient, as optax has it."""
    return [
        *units("linear", plan),
        add_plan_decayed_weights(a["weight_decay"], plan, a["weight_decay_mask"]),
        optax.scale_by_adadelta(rho=a["rho"], eps=a["eps"]),
        rate(plan, a),
    ]


def lamb(plan: Plan, a: Arguments) -> Links:
    """lamb."""
    names = ("b1", "b2", "eps", "eps_root")
    return [
        *units("normalised", plan),
        optax.scale_by_adam(**{name: a[name] for name in names}),
        add_decayed_weights_by(a["weight_decay"], plan, a["mask"], _relative_decay),
        _of_the_bases_size(plan, optax.scale_by_trust_ratio()),
        rate(plan, a),
    ]


def lars(plan: Plan, a: Arguments) -> Links:
    """lars: the decay is part of the gradient, as optax has it."""
    trust = optax.scale_by_trust_ratio(trust_coefficient=a["trust_coefficient"], eps=a["eps"])
    return [
        *units("linear", plan),
        add_decayed_weights_by(
            a["weight_decay"],
            plan,
            a["weight_decay_mask"],
            _relative_decay,
            inside=a["trust_ratio_mask"],
            outside=lambda one: one.wd,
        ),
        optax.masked(_of_the_bases_size(plan, trust), a["trust_ratio_mask"]),
        rate(plan, a),
        optax.trace(decay=a["momentum"], nesterov=a["nesterov"]),
    ]


def fromage(plan: Plan, a: Arguments) -> Links:
    """fromage: its shrinking of the weights follows from each parameter's own learning rate.

    Its least norm is one of gradients as well: so that it means the same for both, the gradients go as the weights.
    """

    def make(lr: float, norm: float) -> optax.GradientTransformation:
        return optax.fromage(scaled(a["learning_rate"], lr), times(a["min_norm"], norm))

    return [
        divide_by(plan, lambda one: one.gradient_size / _size(one)),
        grouped(plan, lambda one: (one.lr / _size(one), _size(one) * norm_growth(one)), make),
    ]


def adafactor(plan: Plan, a: Arguments) -> Links:
    """adafactor."""
    rate = 1.0 if a["learning_rate"] is None else a["learning_rate"]
    found = [
        *units("normalised", plan),
        optax.scale_by_factored_rms(
            a["factored"], a["decay_rate"], a["decay_offset"], a["min_dim_size_to_factor"], a["eps"]
        ),
    ]
    if a["clipping_threshold"] is not None:
        found.append(optax.clip_by_block_rms(a["clipping_threshold"]))
    found.append(scale_by_plan_learning_rate(rate, plan, flip_sign=False))
    if a["multiply_by_parameter_scale"]:
        found.append(_of_the_bases_size(plan, optax.scale_by_param_block_rms()))
    if a["momentum"] is not None:
        found.append(optax.ema(a["momentum"], debias=False, accumulator_dtype=a["dtype_momentum"]))
    if a["weight_decay_rate"] is not None:
        # Not per unit of learning rate: a step decays by the rate itself.
        found.append(
            add_plan_decayed_weights(a["weight_decay_rate"], plan, a["weight_decay_mask"], per_step=True)
        )
    return [*found, optax.scale(-1.0)]


def novograd(plan: Plan, a: Arguments) -> Links:
    """novograd: the step of a parameter has norm 1, so that its entries shrink with the root of their number."""
    names = ("b1", "b2", "eps", "eps_root")

    def make(lr: float, wd: float) -> optax.GradientTransformation:
        given = {name: a[name] for name in names}
        return optax.novograd(
            scaled(a["learning_rate"], lr), weight_decay=scaled(a["weight_decay"], wd), **given
        )

    def factors(one: ParameterPlan) -> tuple[float, float]:
        return one.lr * norm_growth(one), one.wd / norm_growth(one)

    return [divide_by(plan, lambda one: one.eps * norm_growth(one)), grouped(plan, factors, make)]


def madgrad(plan: Plan, a: Arguments) -> Links:
    """madgrad: a step goes as the learning rate to the power 2/3; the decay is part of the gradient, as in optax."""

    def make(lr: float) -> optax.GradientTransformation:
        return optax.contrib.scale_by_madgrad(
            scaled(a["learning_rate"], lr**1.5), a["momentum"], a["eps"] * lr**0.5
        )

    return [
        *units("linear", plan),
        add_plan_decayed_weights(a["weight_decay"], plan),
        grouped(plan, lambda one: (one.lr,), make),
    ]


def norm_growth(one: ParameterPlan) -> float:
    """How much larger the norm of an array of the parameter's shape is than at the base, entries being equal."""
    if one.init is None or not math.prod(one.base_shape):  # an empty array has no norm
        return 1.0
    return math.sqrt(math.prod(one.shape) / math.prod(one.base_shape))


def _size(one: ParameterPlan) -> float:
    return 1.0 if one.init is None else one.init


def _relative_decay(one: ParameterPlan) -> float:
    """Decay in front of a trust ratio: in the steady state the size of the weights goes as lr / wd, not as its root.

    So the size that AdamW's steady state has, sqrt(lr / wd), asks for another factor (docs/optimizer.md).
    """
    return math.sqrt(one.lr * one.wd) / _size(one)


def _of_the_bases_size(plan: Plan, scale: optax.GradientTransformation) -> optax.GradientTransformation:
    """A scaling by the parameter's size, which sees parameters of the base's size.

    That takes out of the step what the size does with width, and only that: where the size is 0 or at a floor, the
    scaling does what it does at the base.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return scale.update(updates, state, map_updates(lambda name, w: _divided(plan, name, w), params))

    return optax.GradientTransformation(scale.init, update)


def _divided(plan: Plan, name: str, w: jax.Array) -> jax.Array:
    size = _size(find(plan, name))
    return w if size == 1 else w / size
