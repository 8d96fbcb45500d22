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
class Family:
    """How an optimizer follows a plan.

    Attributes:
      kind: of rule.
      links: returns the links of its chain, from the plan and all arguments of its factory.
      betas: whether it scales `1 - beta` where a recipe asks for that.
    """

    kind: Kind
    links: Callable[[Plan, Arguments], Links]
    betas: bool = False


def families() -> dict[str, Family]:
    """Returns the families by the names of the factories in optax and `optax.contrib`."""
    adam = Family("normalised", chains.adam, betas=True)
    contrib = optax.contrib
    moments = ("b1", "b2", "eps", "eps_root")
    return {
        "adam": adam,
        "adamw": adam,
        "nadam": adam,
        "nadamw": adam,
        "optimistic_adam_v2": Family("normalised", chains.optimistic_adam, betas=True),
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
        "rmsprop": Family("normalised", chains.rmsprop),
        "sm3": _of("normalised", optax.scale_by_sm3, b1="momentum"),
        "schedule_free_adamw": Family("normalised", schedule_free_adamw),
        "radam": _of("linear", optax.scale_by_radam, *moments, "threshold", "nesterov"),
        "yogi": _of("linear", optax.scale_by_yogi, "b1", "b2", "eps"),
        "adagrad": _of("linear", optax.scale_by_rss, "initial_accumulator_value", "eps"),
        "adadelta": Family("linear", chains.adadelta),
        "acprop": _of("linear", contrib.scale_by_acprop, *moments),
        "sgd": Family("linear", chains.sgd),
        "optimistic_gradient_descent": _of("linear", optax.scale_by_optimistic_gradient, "alpha", "beta"),
        "schedule_free_sgd": Family("linear", schedule_free_sgd),
        "lion": _of("sign", optax.scale_by_lion, "b1", "b2", "mu_dtype"),
        "sign_sgd": _of("sign", optax.scale_by_sign),
        "signum": Family("sign", chains.signum),
        "rprop": Family("sign", chains.rprop),
        "lamb": Family("relative", chains.lamb),
        "lars": Family("relative", chains.lars),
        "fromage": Family("relative", chains.fromage),
        "adafactor": Family("relative", chains.adafactor),
        "novograd": Family("norm", chains.novograd),
        "madgrad": Family("power", chains.madgrad),
        "muon": Family("orthogonal", lambda plan, a: [muon(plan, a)]),
    }


def _of(
    kind: Kind, scale: Callable[..., optax.GradientTransformation], *names: str, **renamed: str
) -> Family:
    """A scaling with those arguments of the factory, then decay where the factory has it, and the learning rate."""

    def links(plan: Plan, a: Arguments) -> Links:
        given = {name: a[name] for name in names} | {name: a[theirs] for name, theirs in renamed.items()}
        return [
            *chains.units(kind, plan),
            scale(**given),
            *chains.decay(plan, a),
            chains.rate(plan, a),
        ]

    return Family(kind, links)
