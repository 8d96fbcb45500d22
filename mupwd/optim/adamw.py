"""AdamW whose learning rate, decay and eps follow a plan, with the state of `optax.adamw`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from mupwd.optim.checks import check_tree, find, promoting_as_optax, times
from mupwd.optim.scaling import Mask, add_plan_decayed_weights, scale_by_plan_learning_rate
from mupwd.paths import path_name
from mupwd.plan import check_is_plan
from mupwd.scalars import check_number, check_rate, is_number

if TYPE_CHECKING:
    from jax.typing import ArrayLike, DTypeLike

    from mupwd.plan import Plan


Denominator = Literal["eps", "atan2"]
_EPS = 1e-8


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    plan: Plan,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = _EPS,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: optax.ScalarOrSchedule = 1e-4,
    mask: Mask | None = None,
    *,
    nesterov: bool = False,
    decay: Literal["coupled", "independent"] = "coupled",
    peak_learning_rate: ArrayLike | None = None,
    denominator: Denominator = "eps",
) -> optax.GradientTransformationExtraArgs:
    r"""`optax.adamw` with the plan's learning rate, weight decay and eps for each parameter.

    With the plan's factors $f$ for parameter $i$, and $\hat m, \hat v$ Adam's bias-corrected moments,

    $$w_i \leftarrow w_i - \alpha_t f^{lr}_i \left(
      \frac{\hat m_i}{\sqrt{\hat v_i + \bar\varepsilon (f^{eps}_i)^2} + \varepsilon f^{eps}_i}
      + \lambda_t f^{wd}_i w_i \right)$$

    so the decay of a step is $\alpha_t \lambda_t f^{lr}_i f^{wd}_i w_i$. Both terms have their own factor:
    multiplying a finished AdamW update by $f^{lr}$ would scale the decay along with it. With
    `decay="independent"` the decay of a step is $(\alpha_t / \alpha_{peak}) \lambda_t f^{lr}_i f^{wd}_i w_i$,
    that is, coupled decay with $\lambda_t / \alpha_{peak}$: it follows the schedule, not the peak.

    Where every factor is 1 (base == target) it is `optax.adamw`, bit for bit, with the recipe's decay mask.
    Its state is that of `optax.adamw` for the same kinds of arguments and no mask, so that a checkpoint of
    one restores into the other.

    Args:
      learning_rate: the base's learning rate, as it was tuned: a number, a scalar array (traced as well), or
        a schedule from the step count to one.
      plan: multipliers per parameter, from `Family.plan`.
      b1: decay rate of the first moment. A recipe for other batch sizes scales `1 - b1`, through
        `plan.beta_ratio`; likewise `1 - b2`.
      b2: decay rate of the second moment.
      eps: the base's constant in the denominator. The plan scales it with the size of a gradient entry, which
        falls with width; else eps would drown the update of a wide model.
      eps_root: the same inside the square root, which holds squares of gradients: its factor is squared.
      mu_dtype: dtype of the first moment; by default the parameter's.
      weight_decay: the base's decay: per unit of learning rate when coupled, per step at the peak of the
        schedule when independent. A number, a scalar array, or a schedule.
      mask: booleans, as for `optax.adamw`; a parameter decays where both the mask and the plan let it.
      nesterov: use Nesterov momentum.
      decay: `"coupled"` (optax, PyTorch) or `"independent"` (of the peak learning rate).
      peak_learning_rate: $\alpha_{peak}$, for independent decay; by default `learning_rate` where that is a
        plain number, and required where it is a schedule or an array.
      denominator: `"eps"`, or `"atan2"` for $\operatorname{atan2}(\hat m_i, \sqrt{\hat v_i})$ in the place of the
        quotient: it needs no eps at all, and does not change with the scale of the gradient.

    Returns:
      An optax transform; its `update` needs the parameters.

    Raises:
      ValueError: a learning rate, decay or eps is negative, NaN, infinite or not a scalar; a beta is not in [0, 1);
        `decay` is neither word; `peak_learning_rate` is missing, 0, or given with coupled decay; a scaled `1 - beta`
        reaches 1; `eps` or `eps_root` is given with `denominator="atan2"`, or `denominator` is neither word.
      TypeError: a hyperparameter is no number, array or schedule (or, from `update`, its schedule returns none);
        `plan` is no plan; `mu_dtype` holds no fractions.
      PlanError: (from `init`) the parameters do not fit the plan.

    Example:
      >>> import jax, jax.numpy as jnp, mupwd
      >>> shapes = lambda d: {"kernel": jnp.ones((d, d))}
      >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"kernel": "in out"})
      >>> params = shapes(32)
      >>> plan = family.plan(params)
      >>> tx = mupwd.adamw(1e-2, plan, weight_decay=0.1)
      >>> updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
      >>> print(f"{updates['kernel'][0, 0]:.1e}")  # 1e-2 · 0.1, times 1/4 and 2 at m = 4
      -5.0e-04

    References:
      Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101 (independent decay is
      its algorithm 2); Fan et al., "Robust Layerwise Scaling Rules by Proper Weight Decay Tuning",
      arXiv 2510.15262 (the factors of the default recipe); Everett et al., "Scaling Exponents Across
      Parameterizations and Optimizers", arXiv 2407.05872 (atan2).
    """
    check_is_plan(plan)
    check_rate("learning_rate", learning_rate)
    check_rate("weight_decay", weight_decay)
    if decay == "independent":
        weight_decay = _per_unit_of_learning_rate(weight_decay, learning_rate, peak_learning_rate)
    elif decay != "coupled":
        raise ValueError(f'decay must be "coupled" or "independent"; got {decay!r}')
    elif peak_learning_rate is not None:
        raise ValueError(
            "peak_learning_rate has no use in coupled decay, where a step decays by learning_rate * "
            'weight_decay; leave it out, or say decay="independent"'
        )
    return optax.chain(
        scale_by_plan_adam(plan, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov, denominator=denominator),
        add_plan_decayed_weights(weight_decay, plan, mask),
        scale_by_plan_learning_rate(learning_rate, plan),
    )


def scale_by_plan_adam(
    plan: Plan,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = _EPS,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    denominator: Denominator = "eps",
) -> optax.GradientTransformation:
    """`optax.scale_by_adam` with the plan's eps for each parameter, and its `beta_ratio`.

    Args:
      plan: multipliers per parameter.
      b1: decay rate of the first moment, at the base.
      b2: decay rate of the second moment, at the base.
      eps: constant in the denominator, at the base.
      eps_root: constant inside the square root, at the base.
      mu_dtype: dtype of the first moment; by default the parameter's.
      nesterov: use Nesterov momentum.
      denominator: `"eps"` or `"atan2"`, as for `mupwd.adamw`.

    Returns:
      A transform with the state of `optax.scale_by_adam`.

    Raises:
      ValueError: a beta is not in [0, 1), an eps is negative, NaN or infinite; a scaled `1 - beta` reaches 1; `eps` or
        `eps_root` together with atan2.
      TypeError: one of them is no number; `plan` is no plan; `mu_dtype` holds no fractions.
      PlanError: (from `init`) the parameters do not fit the plan.

    Example:
      >>> import jax, jax.numpy as jnp, mupwd
      >>> shapes = lambda d: {"kernel": jnp.ones((d, d))}
      >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"kernel": "in out"})
      >>> params = shapes(32)
      >>> plan = family.plan(params)
      >>> tx = mupwd.optim.scale_by_plan_adam(plan, eps=1e-8)  # 1e-8 / 4 for this kernel
      >>> updates, state = tx.update(params, tx.init(params))
    """
    check_is_plan(plan)
    for name, value in (("b1", b1), ("b2", b2)):
        check_number(name, value, below=1)
    for name, value in (("eps", eps), ("eps_root", eps_root)):
        check_number(name, value)
    b1 = _scaled_beta("b1", b1, plan.beta_ratio)
    b2 = _scaled_beta("b2", b2, plan.beta_ratio)
    _check_denominator(denominator, eps, eps_root)
    if mu_dtype is not None:
        mu_dtype = _moment_dtype(mu_dtype)

    def init(params: Any) -> Any:
        check_tree(plan, params)
        return optax.scale_by_adam(mu_dtype=mu_dtype).init(params)

    @promoting_as_optax
    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        if nesterov:
            mu_hat = jax.tree.map(
                lambda m, g: b1 * m + (1 - b1) * g,
                optax.tree.bias_correction(mu, b1, optax.safe_increment(count)),
                optax.tree.bias_correction(updates, b1, count),
            )
        else:
            mu_hat = optax.tree.bias_correction(mu, b1, count)
        nu_hat = optax.tree.bias_correction(nu, b2, count)

        def normalise(path: Any, m: jax.Array, v: jax.Array) -> jax.Array:
            factor = find(plan, path_name(path)).eps
            if denominator == "atan2":
                return jnp.arctan2(m, jnp.sqrt(v))
            return m / (jnp.sqrt(v + times(eps_root, factor**2)) + times(eps, factor))

        updates = jax.tree_util.tree_map_with_path(normalise, mu_hat, nu_hat)
        return updates, optax.ScaleByAdamState(
            count=count, mu=optax.tree.cast(mu, mu_dtype), nu=optax.tree.cast_like(nu, state.nu)
        )

    return optax.GradientTransformation(init, update)


def _moment_dtype(dtype: Any) -> Any:
    try:
        found = jax.dtypes.canonicalize_dtype(dtype)
    except TypeError as error:
        raise TypeError(
            f"mu_dtype={dtype!r} is no dtype ({error}); expected one of floating point, such as 'bfloat16'"
        ) from error
    if not jnp.issubdtype(found, jnp.inexact):
        raise TypeError(
            f"mu_dtype={dtype!r}: integers would round the moment to 0; expected a floating-point dtype"
        )
    return found


def _check_denominator(denominator: Denominator, eps: Any, eps_root: Any) -> None:
    if denominator not in ("eps", "atan2"):
        raise ValueError(f'denominator must be "eps" or "atan2"; got {denominator!r}')
    unused = [
        f"{name}={value}"
        for name, value, default in (("eps", eps, _EPS), ("eps_root", eps_root, 0.0))
        if is_number(value) and value != default
    ]
    if denominator == "atan2" and unused:
        raise ValueError(f'denominator="atan2" has no eps: leave out {" and ".join(unused)}')


def _scaled_beta(name: str, beta: Any, ratio: float) -> Any:
    if ratio == 1:
        return beta
    complement = (1 - beta) * ratio
    if not isinstance(complement, Tracer) and complement >= 1:
        raise ValueError(
            f"{name}={beta} with the plan's beta_ratio {ratio:g} asks for 1 - {name} = {complement:g}, which "
            f"leaves no average; choose {name} above {1 - 1 / ratio:g} at the base, a smaller batch ratio, "
            "or a recipe that leaves the betas alone"
        )
    return 1 - complement


def _per_unit_of_learning_rate(weight_decay: Any, learning_rate: Any, peak: Any) -> Any:
    if peak is None:
        if not is_number(learning_rate):
            kind = "a schedule" if callable(learning_rate) else "an array (perhaps traced or injected)"
            raise ValueError(
                'decay="independent" divides the decay by the peak learning rate, and learning_rate is '
                f"{kind}, whose peak cannot be read: pass peak_learning_rate="
            )
        check_number(
            'learning_rate (with decay="independent" and no peak_learning_rate)', learning_rate, zero=False
        )
        peak = learning_rate
    check_number("peak_learning_rate", peak, zero=False)
    if callable(weight_decay):
        return lambda count: weight_decay(count) / peak
    return weight_decay / peak
