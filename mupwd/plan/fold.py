"""Forward factors as a part of the weights, so that a model is exported as it stands."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from mupwd.paths import map_named, named_leaves
from mupwd.plan.errors import PlanError
from mupwd.plan.parameter import ParameterPlan
from mupwd.plan.plan import Plan
from mupwd.tracing.roles import RESIDUAL, Logits, readout

_KEEP = "or export the model with its factors in: mupwd.apply_forward(fn, plan)"


def folded(plan: Plan, params: Any) -> Any:
    """Multiplies every parameter by its factors; see `Plan.fold`."""
    _check_whole(plan, params)
    factors = weight_factors(plan)
    return map_named(lambda name, leaf: _times(leaf, factors.get(name, 1.0)), params)


def unfolded(plan: Plan, params: Any) -> Any:
    """Divides every parameter by its factors; see `Plan.unfold`."""
    _check_whole(plan, params)
    factors = weight_factors(plan)
    return map_named(lambda name, leaf: _over(leaf, factors.get(name, 1.0)), params)


def weight_factors(plan: Plan) -> dict[str, float]:
    """Returns what `Plan.fold` multiplies each parameter by, where that is not 1.

    Raises:
      PlanError: a forward factor of the plan cannot be folded.
    """
    factors: dict[str, float] = {}
    for path, factor in plan.forward.items():
        if plan[path].role == "tied":
            raise PlanError(
                f"{path} is used as an input and as an output (tied), and only the output has the factor "
                f"{factor:g}: one array cannot hold both. Export a model whose readout is a parameter of its own, "
                f"{factor:g} times this one, {_KEEP}"
            )
        for target in _takers(plan, path, factor):
            factors[target] = factors.get(target, 1.0) * factor
    for logits in plan.logits:
        for p in _queries(plan, logits):
            ratio = p.m_out ** ((plan.rules.logits or 0.0) - logits.exponent)
            factors[p.path] = factors.get(p.path, 1.0) * ratio
    if plan.residual_scale != 1:
        for p in _ends(plan):
            factors[p.path] = factors.get(p.path, 1.0) * plan.residual_scale
    return {path: factor for path, factor in factors.items() if factor != 1.0}


def _takers(plan: Plan, path: str, factor: float) -> list[str]:
    """The readout itself; where it is normalised or rounded before its use, what else logits are proportional to."""
    altered = plan[path].parameter.altered
    if not altered:
        return [path]
    found = [p.path for p in plan.values() if readout(path) in p.parameter.folds]
    if not found:
        raise PlanError(
            f"{path} is normalised or rounded before it is used at {altered}, and nothing else takes its factor "
            f"{factor:g}: multiply the logits by it in the model, {_KEEP}"
        )
    return found


def _queries(plan: Plan, logits: Logits) -> list[ParameterPlan]:
    found = [p for p in plan.values() if logits.name in p.parameter.folds]
    if not found or len({p.m_out for p in found}) > 1:
        raise PlanError(
            f"the factor on the logits at {logits.source} cannot be folded into the query's parameters: the logits "
            "are not proportional to them (a norm or a nonlinearity is between), or the parameters do not grow as "
            "head_dim does. Write sqrt(base_head_dim) / head_dim as the scale of the logits in the model, "
            f"{_KEEP}"
        )
    return found


def _ends(plan: Plan) -> list[ParameterPlan]:
    branch = f"the factor {plan.residual_scale:g} of the residual branch"
    for p in plan.values():
        if p.parameter.unfoldable:
            raise PlanError(
                f"{p.path}: {branch} that it is in cannot be folded into weights: it {p.parameter.unfoldable}. "
                f"Multiply the branch by plan.residual_scale in the model, {_KEEP}"
            )
    ends = [p for p in plan.values() if RESIDUAL in p.parameter.folds]
    if not ends:
        inside = next((p.path for p in plan.values() if p.parameter.residual), "the model")
        raise PlanError(
            f"{inside}: {branch} that it is in can be folded only where the family was made from the model's function "
            f"by this version of mupwd; make it again, {_KEEP}"
        )
    return ends


def _check_whole(plan: Plan, params: Any) -> None:
    # None is an empty tree: what the model holds besides the plan's parameters is not checked.
    own = map_named(lambda name, leaf: leaf if name in plan else None, params)
    plan.check(own)
    found = named_leaves(own)
    if missing := [path for path in plan if path not in found]:
        raise PlanError(
            f"{len(missing)} parameter(s) of the plan are not in the tree: {', '.join(missing[:3])}"
            f"{' …' if len(missing) > 3 else ''}; factors are folded in the whole tree at once, so that none is "
            "applied twice or left out"
        )


def _times(leaf: Any, factor: float) -> Any:
    return leaf if factor == 1.0 else leaf * jnp.asarray(factor, leaf.dtype)


def _over(leaf: Any, factor: float) -> Any:
    return leaf if factor == 1.0 else leaf / jnp.asarray(factor, leaf.dtype)
