"""How each of optax's optimizers follows a plan: its own scaling, between gradients in the base's units and our decay
and learning rate.

The kinds of rule (docs/optimizer.md derives them):

- *normalised*: only eps ties the step to the gradient's size (Adam and its relatives).
- *linear*: the step is proportional to the gradient (SGD), at some time (RAdam's first steps), or is compared with
  numbers of a fixed size (Adagrad's first accumulator).
- *sign*: the gradient's size does not matter.
- *relative*: the step is a share of the parameter's own size (LAMB, Adafactor), which goes as the plan's `init`.
- *norm*: the step of a parameter has a fixed norm (NovoGrad).
- *power*: the step goes as a power of the learning rate (MADGRAD).
- *orthogonal*: all singular values of a step are equal (Muon).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optax

from mupwd.optim import chains
from mupwd.optim.chains import Arguments, Kind, Links
from mupwd.optim.muon import muon
from mupwd.optim.schedule_free import schedule_free_adamw, schedule_free_sgd

if TYPE_CHECKING:
    from mupwd.plan import Plan


@dataclass(frozen=True)
class Following:
    """How an optimizer follows a plan.

    Attributes:
      links: returns the links of its chain, from the plan and all arguments of its factory.
      betas: whether it scales `1 - beta` where a recipe asks for that.
    """

    links: Callable[[Plan, Arguments], Links]
    betas: bool = False


def families() -> dict[str, Following]:
    """Returns how each follows a plan, by the names of the factories in optax and `optax.contrib`."""
    adam = Following(chains.adam, betas=True)
    contrib = optax.contrib
    moments = ("b1", "b2", "eps", "eps_root")
    return {
        "adam": adam,
        "adamw": adam,
        "nadam": adam,
        "nadamw": adam,
        "optimistic_adam_v2": Following(chains.optimistic_adam, betas=True),
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
        "ademamix": _of("normalised", contrib.scale_by_ademamix, *moments, "b3", "alpha", "mu_dtype"),
        "simplified_ademamix": _of("normalised", contrib.scale_by_simplified_ademamix, *moments, "alpha"),
        "adopt": _of(
            "normalised",
            contrib.scale_by_adopt,
            *("b1", "b2", "eps", "mu_dtype", "nesterov", "use_clipping", "clip_value_fn"),
        ),
        "rmsprop": Following(chains.rmsprop),
        "sm3": _of("normalised", optax.scale_by_sm3, b1="momentum"),
        "schedule_free_adamw": Following(schedule_free_adamw),
        "radam": _of("linear", optax.scale_by_radam, *moments, "threshold", "nesterov"),
        "yogi": _of("linear", optax.scale_by_yogi, "b1", "b2", "eps"),
        "adagrad": _of("linear", optax.scale_by_rss, "initial_accumulator_value", "eps"),
        "adadelta": Following(chains.adadelta),
        "acprop": _of("linear", contrib.scale_by_acprop, *moments),
        "sgd": Following(chains.sgd),
        "optimistic_gradient_descent": _of("linear", optax.scale_by_optimistic_gradient, "alpha", "beta"),
        "schedule_free_sgd": Following(schedule_free_sgd),
        "lion": _of("sign", optax.scale_by_lion, "b1", "b2", "mu_dtype"),
        "sign_sgd": _of("sign", optax.scale_by_sign),
        "signum": Following(chains.signum),
        "rprop": Following(chains.rprop),
        "lamb": Following(chains.lamb),
        "lars": Following(chains.lars),
        "fromage": Following(chains.fromage),
        "adafactor": Following(chains.adafactor),
        "novograd": Following(chains.novograd),
        "madgrad": Following(chains.madgrad),
        "muon": Following(lambda plan, a: [muon(plan, a)]),
    }


def _of(
    kind: Kind, scale: Callable[..., optax.GradientTransformation], *names: str, **renamed: str
) -> Following:
    """A scaling with those arguments of the factory, then decay where the factory has it, and the learning rate."""

    def links(plan: Plan, a: Arguments) -> Links:
        given = {name: a[name] for name in names} | {name: a[theirs] for name, theirs in renamed.items()}
        return [
            *chains.units(kind, plan),
            scale(**given),
            *chains.decay(plan, a),
            chains.rate(plan, a),
        ]

    return Following(links)
