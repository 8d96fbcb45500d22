"""Any of optax's optimizers, with a plan."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import optax

from mupwd.optim.checks import promoting_as_optax
from mupwd.optim.families import families
from mupwd.optim.refused import REFUSED

if TYPE_CHECKING:
    from mupwd.plan import Plan


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
      factory: `optax.sgd`, `optax.lion`, …: the function itself.
      plan: multipliers per parameter, from `Family.plan`.

    Returns:
      A function with the factory's own arguments and defaults: learning rate and weight decay are the base's, the decay
      per unit of learning rate (for Adafactor's `weight_decay_rate`: per step, as optax has it).

    Raises:
      ValueError: no rule is known for the optimizer; or the recipe scales `1 - beta`, and the optimizer is not of
        Adam's family.
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
    known = families()
    name = next((one for one in known if _factory(one) is factory), None)
    if name is None:
        name = getattr(factory, "__name__", repr(factory))
        raise ValueError(
            f"mupwd.wrap({name}): {REFUSED.get(name, 'its rule is not known here')}. Known are {', '.join(known)}. "
            "One whose scaling of a gradient acts on each parameter by itself can be stated as "
            "optax.chain(mupwd.optim.scale_by_plan_gradient(plan), its scaling, "
            "mupwd.add_plan_decayed_weights(weight_decay, plan), "
            "mupwd.scale_by_plan_learning_rate(learning_rate, plan))"
        )
    family = known[name]
    if plan.beta_ratio != 1 and not family.betas:
        raise ValueError(
            f"mupwd.wrap({name}): recipe {plan.recipe} scales 1 - beta by {plan.beta_ratio:g} for this ratio of batch "
            "and tokens, which is derived for Adam; take an optimizer of Adam's family, or a recipe without it"
        )
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        chain = optax.chain(*family.links(plan, bound.arguments))
        return optax.GradientTransformationExtraArgs(chain.init, promoting_as_optax(chain.update))

    return make


def _factory(name: str) -> Any:
    return getattr(optax.contrib, name) if hasattr(optax.contrib, name) else getattr(optax, name)
