"""Muon with a plan: orthogonalised steps for the kernels inside of a network, Adam's for all else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers

from mupwd.optim.adamw import scale_by_plan_adam
from mupwd.optim.checks import check_tree, covering, find, is_zero, map_updates, times
from mupwd.optim.gradients import divide_by
from mupwd.optim.scaling import add_decayed_weights_by, add_plan_decayed_weights, scale_by_plan_learning_rate
from mupwd.paths import map_named, named_leaves, path_name

if TYPE_CHECKING:
    from mupwd.plan import ParameterPlan, Plan

_INSIDE = ("matrix", "narrow", "wide")
_NS_COEFFS = {
    "standard": (3.4445, -4.7750, 2.0315),
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
}
Dimensions = MuonDimensionNumbers | None
_NUMBERS = "muon_weight_dimension_numbers"
_EXPECTED = "it MuonDimensionNumbers, or None for Adam. Without the argument the plan's axes are taken"


def muon(plan: Plan, a: Mapping[str, Any]) -> optax.GradientTransformationExtraArgs:
    r"""`optax.contrib.muon` whose steps have the base's RMS-to-RMS norm at every width.

    With $O$ the orthogonalised momentum (all singular values about 1) and $c_b$ the factor that optax gives to the
    *base's* shape, $\sqrt{\max(1, \text{fan out} / \text{fan in})}$ or the one of `consistent_rms`,

    $$w \leftarrow w - \alpha_t \left(c_b f^{lr} \sqrt{m_{in} m_{out}} \, O + \lambda_t \kappa w\right)$$

    In muP $f^{lr} = 1/m_{in}$, and the factor of $O$ is $\sqrt{m_{out} / m_{in}}$. $\kappa$ is what the recipe does to
    the decay of a step for other reasons than the width: a steady state of such steps has the base's norm where a step
    forgets the base's share.

    Args:
      plan: multipliers per parameter.
      a: all arguments of `optax.contrib.muon`.

    Returns:
      The transform. Its dimension numbers are the plan's axes: `in` is reduced, `out` is the output, all others are
      batched.

    Raises:
      ValueError: `adaptive`, or exponents of decay that were fitted to AdamW; (from `init`) dimension numbers that are
        not the plan's.

    Source: Jordan et al., "Muon", 2024; the norm: Bernstein and Newhouse, arXiv 2409.20325 and 2410.21265, and Yang,
    Simon and Bernstein, "A Spectral Condition for Feature Learning", arXiv 2310.17813; docs/optimizer.md derives both
    factors.
    """
    _check(plan, a)
    dimensions = _dimensions(plan, a[_NUMBERS])

    def labels(params: Any) -> Any:
        found = dimensions(params)
        return map_named(lambda name, _: "adam" if found[name] is None else "muon", params)

    def numbers(params: Any) -> Any:
        found = dimensions(params)
        return map_named(lambda name, _: found[name], params)

    names = ("ns_steps", "beta", "eps", "mu_dtype", "nesterov", "preconditioning")
    coefficients = a["ns_coeffs"]
    core = optax.contrib.scale_by_muon(
        ns_coeffs=_NS_COEFFS[coefficients] if isinstance(coefficients, str) else coefficients,
        weight_dimension_numbers=numbers,
        **{name: a[name] for name in names},
    )
    adam_rate = a["learning_rate"] if a["adam_learning_rate"] is None else a["adam_learning_rate"]
    split = optax.partition(
        {
            "muon": optax.chain(
                _after(divide_by(plan, _gradient_norm), core),
                _scale_by_shape(plan, dimensions, a["consistent_rms"]),
                add_decayed_weights_by(
                    a["weight_decay"], plan, a["weight_decay_mask"], lambda one: _decay(plan, one)
                ),
                optax.scale_by_learning_rate(a["learning_rate"]),
            ),
            "adam": optax.chain(
                scale_by_plan_adam(
                    plan, a["adam_b1"], a["adam_b2"], a["eps"], a["adam_eps_root"], a["mu_dtype"],
                    nesterov=a["nesterov"],
                ),
                add_plan_decayed_weights(a["adam_weight_decay"], plan),
                scale_by_plan_learning_rate(adam_rate, plan),
            ),
        },
        labels,
    )  # fmt: skip

    def init(params: Any) -> Any:
        check_tree(plan, params)
        return split.init(params)

    return optax.GradientTransformationExtraArgs(init, split.update)


def _check(plan: Plan, a: Mapping[str, Any]) -> None:
    if a["adaptive"]:
        raise ValueError(
            "mupwd.wrap(muon): adaptive=True multiplies the step by the nuclear norm of the momentum, summed over all "
            "layers of a stack; how that goes with width depends on the gradient's rank, and no rule is known. Leave "
            "it out"
        )
    fitted = plan.rules.decay_exponents or plan.recipe.startswith("fitted(")
    if fitted and not is_zero(a["weight_decay"]):
        raise ValueError(
            f"mupwd.wrap(muon): recipe {plan.recipe} has exponents of the weight decay that were fitted to AdamW's "
            "steady state; Muon's has no power of the width (docs/optimizer.md). Take another recipe, such as mupwd"
        )
    coefficients = a["ns_coeffs"]
    if isinstance(coefficients, str) and coefficients not in _NS_COEFFS:
        raise ValueError(
            f"mupwd.wrap(muon): ns_coeffs={coefficients!r}; expected {' or '.join(map(repr, _NS_COEFFS))}, or "
            "coefficients"
        )


def _after(
    first: optax.GradientTransformation, core: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Runs a link without state in front of another, which keeps its state and place in the chain."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, _ = first.update(updates, optax.EmptyState(), params)
        return core.update(updates, state, params)

    return optax.GradientTransformation(core.init, update)


def _gradient_norm(one: ParameterPlan) -> float:
    """How large the norm of a gradient is, relative to the base's: what Muon's eps is added to."""
    return 1.0 if one.init is None else one.gradient_size * math.sqrt(one.m_in * one.m_out)


def _decay(plan: Plan, one: ParameterPlan) -> float:
    """What the recipe does to the decay of a step, its dependence on width apart; 0 where nothing is to decay."""
    rule = plan.rules.rule(one.role, one.path)
    if rule.wd is None:
        return 0.0
    width = {"m_in": one.m_in, "m_out": one.m_out}
    return one.lr * one.wd / (rule.lr.value(**width) * rule.wd.value(**width))


def _scale_by_shape(
    plan: Plan, dimensions: Callable[[Any], dict[str, Dimensions]], consistent_rms: Any
) -> optax.GradientTransformation:
    """optax's factor for the base's shape, times the plan's from there to the target."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        found = dimensions(updates)

        def scale(name: str, u: jax.Array) -> jax.Array:
            one, axes = find(plan, name), found[name]
            assert axes is not None
            # A recipe that leaves the model as it is (sp) leaves the optimizer's own factor as well.
            as_it_is = one.init is None
            shape = one.shape if as_it_is else one.base_shape
            fan_in, fan_out = (math.prod(shape[i] for i in _axes(part, len(shape))) for part in axes)
            if consistent_rms is None:
                factor = jnp.sqrt(jnp.maximum(1, fan_out / fan_in))
            else:
                factor = jnp.sqrt(jnp.maximum(fan_in, fan_out)) * consistent_rms
            return times(factor, one.lr if as_it_is else one.lr * math.sqrt(one.m_in * one.m_out)) * u

        return map_updates(scale, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _dimensions(plan: Plan, given: Any) -> Callable[[Any], dict[str, Dimensions]]:
    """A function from the parameters to each one's dimension numbers; None for Adam's."""

    def of(params: Any) -> dict[str, Dimensions]:
        names = list(named_leaves(params))
        if given is None:
            return {name: _own(find(plan, name)) for name in names}
        tree = given(params) if callable(given) else given
        leaves, _ = jax.tree_util.tree_flatten_with_path(
            tree, is_leaf=lambda leaf: leaf is None or isinstance(leaf, MuonDimensionNumbers)
        )
        by_name = {path_name(path): leaf for path, leaf in leaves}
        stated = {name: covering(by_name, name, _NUMBERS, _EXPECTED) for name in names}
        return {name: _agreed(find(plan, name), own) for name, own in stated.items()}

    return of


def _own(one: ParameterPlan) -> Dimensions:
    return _by_axes(one) if one.role in _INSIDE else None


def _by_axes(one: ParameterPlan) -> Dimensions:
    if not one.in_axes or not one.out_axes or set(one.in_axes) & set(one.out_axes):
        return None
    return MuonDimensionNumbers(one.in_axes, one.out_axes)


def _agreed(one: ParameterPlan, given: Dimensions) -> Dimensions:
    """The user's own, which may leave a parameter to Adam or add one to Muon, but not read its axes otherwise."""
    if given is None:
        return None
    planned = _by_axes(one)
    if planned is None or _sets(given, len(one.shape)) != _sets(planned, len(one.shape)):
        in_plan = "no matrix" if planned is None else f"{planned}"
        raise ValueError(
            f"{_NUMBERS}: {one.path!r} is given {given}; in the plan, whose axes are "
            f"{', '.join(one.parameter.axes)} (role {one.role}), it is {in_plan}. Leave the argument out, and the "
            "plan's axes are taken; if those are wrong, override them where the family is made"
        )
    return given


def _sets(axes: MuonDimensionNumbers, rank: int) -> list[set[int]]:
    return [set(_axes(part, rank)) for part in axes]


def _axes(part: Any, rank: int) -> tuple[int, ...]:
    return tuple(i % rank for i in ((part,) if isinstance(part, int) else part))
