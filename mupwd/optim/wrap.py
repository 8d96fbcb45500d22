"""Any of optax's optimizers, with a plan."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import optax

from mupwd.optim.checks import promoting_as_optax
from mupwd.optim.families import families
from mupwd.optim.refused import REFUSED
from mupwd.plan import check_is_plan
from mupwd.scalars import check_rate

if TYPE_CHECKING:
    from mupwd.plan import Plan

_RATES = ("learning_rate", "weight_decay", "weight_decay_rate", "adam_learning_rate", "adam_weight_decay")


def wrap(
    factory: Callable[..., optax.GradientTransformation], plan: Plan
) -> Callable[..., optax.GradientTransformationExtraArgs]:
    r"""Returns an optimizer of optax whose learning rate, decay and eps follow a plan.

    The plan's factors are stated for steps of Adam's size. With $f$ the plan's factors, $s_i$ the size of a gradient
    entry relative to the base's (`gradient_size`), and $u(\cdot)$ the optimizer's own scaling of a gradient,

    $$w_i \leftarrow w_i - \alpha_t f^{lr}_i \left(u(g_i / s_i) + \lambda_t f^{wd}_i w_i\right)$$

    so that SGD, whose step is proportional to the gradient, has the learning rate $\alpha f^{lr} / s$ and the coupled
    decay $\lambda f^{wd} s$. Where only eps knows the gradient's size, $s$ is the plan's `eps`; where nothing does
    (Lion), it is absent; where the step is a share of the parameter's size (LAMB, Adafactor), $f^{lr}$ is divided by
    the plan's `init`. Muon's steps are orthogonal, and have a rule of their own; its dimension numbers are the plan's
    axes. docs/optimizer.md has the table.

    At the base it is optax's own, bit for bit, with the recipe's decay mask.

    Args:
      factory: `optax.sgd`, `optax.lion`, …: the function itself, or a `functools.partial` of it.
      plan: multipliers per parameter, from `Family.plan`.

    Returns:
      A function with the factory's own arguments and defaults: learning rate and weight decay are the base's, the decay
      per unit of learning rate (for Adafactor's `weight_decay_rate`: per step, as optax has it).

    Raises:
      TypeError: the factory is no function: a finished optimizer, a name; `plan` is no plan.
      ValueError: no rule is known for the optimizer; or the recipe scales `1 - beta`, and the optimizer is not of
        Adam's family.
      ValueError: (from the function) a learning rate or decay is negative, NaN or infinite.
      PlanError: (from `init`) the parameters do not fit the plan.

    Example:
      >>> import jax, jax.numpy as jnp, optax, mupwd
      >>> shapes = lambda d: {"kernel": jnp.ones((d, d))}
      >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"kernel": "in out"})
      >>> params = shapes(32)
      >>> tx = mupwd.wrap(optax.sgd, family.plan(params))(1e-2, momentum=0.9)
      >>> updates, _ = tx.update(params, tx.init(params), params)
      >>> print(f"{updates['kernel'][0, 0]:.2f}")  # 1/4 for a matrix 4 times wider, of a gradient 1/4 as large
      -0.01

    Source: Yang et al., "Tensor Programs V", arXiv 2203.03466, Table 8 (its SGD column), and microsoft/mup's MuSGD,
    which the recipe `mup_linear` gives; docs/optimizer.md, per kind.
    """
    if isinstance(factory, optax.GradientTransformation) or not callable(factory):
        finished = isinstance(factory, optax.GradientTransformation)
        is_what = "a finished optimizer" if finished else repr(factory)
        raise TypeError(
            f"mupwd.wrap was given {is_what}, and needs what makes one: give the function itself, as in "
            "mupwd.wrap(optax.sgd, plan)(0.1)"
        )
    check_is_plan(plan)
    known = families()
    name, first, fixed = _known(factory, known)
    if name is None:
        name = getattr(getattr(factory, "func", factory), "__name__", repr(factory))
        raise ValueError(
            f"mupwd.wrap({name}): {REFUSED.get(name, 'its rule is not known here')}. Known are {', '.join(known)}. "
            "One whose scaling of a gradient acts on each parameter by itself can be stated as "
            "optax.chain(mupwd.optim.scale_by_plan_gradient(plan), its scaling, "
            "mupwd.add_plan_decayed_weights(weight_decay, plan), "
            "mupwd.scale_by_plan_learning_rate(learning_rate, plan))"
        )
    following = known[name]
    if plan.beta_ratio != 1 and not following.betas:
        raise ValueError(
            f"mupwd.wrap({name}): recipe {plan.recipe} scales 1 - beta by {plan.beta_ratio:g} for this ratio of batch "
            "and tokens, which is derived for Adam; take an optimizer of Adam's family, or a recipe without it"
        )
    signature = inspect.signature(_factory(name))

    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
        bound = signature.bind(*first, *args, **fixed | kwargs)
        bound.apply_defaults()
        _check(signature, bound.arguments)
        links = following.links(plan, bound.arguments)
        # A single link stands alone, so that its state is as optax has it, for schedule_free_eval_params.
        whole = optax.with_extra_args_support(links[0] if len(links) == 1 else optax.chain(*links))
        return optax.GradientTransformationExtraArgs(whole.init, promoting_as_optax(whole.update))

    return make


def _known(
    factory: Callable[..., Any], known: Mapping[str, Any]
) -> tuple[str | None, tuple[Any, ...], dict[str, Any]]:
    """The name of a known factory, and the arguments that a partial of it has already."""
    for name in known:
        if _factory(name) is factory:
            return name, (), {}
    if isinstance(factory, functools.partial):
        name, _, _ = _known(factory.func, known)
        return name, factory.args, factory.keywords
    return None, (), {}


def _check(signature: inspect.Signature, arguments: Mapping[str, Any]) -> None:
    """Refuses learning rates and decays that cannot be meant; None passes where it is the default."""
    for name in _RATES:
        if name not in arguments:
            continue
        if arguments[name] is not None or signature.parameters[name].default is not None:
            check_rate(name, arguments[name])


def _factory(name: str) -> Any:
    return getattr(optax.contrib, name) if hasattr(optax.contrib, name) else getattr(optax, name)
