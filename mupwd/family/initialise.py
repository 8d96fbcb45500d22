"""What a model's own initialisation does with width, and what is missing to the rule."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mupwd.family.models import is_parameter
from mupwd.family.source import Source
from mupwd.paths import named_leaves
from mupwd.plan import Plan, growth
from mupwd.plan.layers import starred
from mupwd.tracing.errors import TraceError
from mupwd.tracing.roles import Parameter

_SURE = 0.125  # three standard errors of an exponent; half of the distance between two of them is 0.25
_MOST_SEEDS = 64
_LARGE = 2**24  # values
_SUMMED = ("matrix", "narrow", "output", "tied")  # their rule counts the axes that are summed


class _Moments(NamedTuple):
    shape: tuple[int, ...]
    variance: float
    constant: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def own_exponents(
    source: Source, parameters: Mapping[str, Parameter], base: int, delta: int
) -> dict[str, float | None]:
    """Returns p in `std ∝ m**p`, as the model itself initialises, by path; None where values are constant.

    `m` is the ratio that the rule's own `init` counts: of the in axes for matrix, narrow, output and tied, of
    the others for the rest. Widths are compared by their pooled variance over as many seeds as are needed.

    Raises:
      TraceError: the standard deviations at the two widths fit no multiple of 1/2.
    """
    totals = {path: np.zeros(4) for path, p in parameters.items() if any(p.growing)}
    result: dict[str, float | None] = {path: None for path in parameters if path not in totals}
    for seed in range(_MOST_SEEDS if source.seeded(base) else 1):
        at_base, at_delta = _moments(source, base, seed), _moments(source, delta, seed)
        for path in [path for path in totals if path not in result]:
            b, d = at_base[path], at_delta[path]
            if b.constant and d.constant:
                result[path] = None
                continue
            _check_varies(path, b, d)
            totals[path] += (b.size * b.variance, b.size, d.size * d.variance, d.size)
            m_in, m_out = growth(parameters[path], d.shape)
            m = m_in if parameters[path].role in _SUMMED else m_out
            if m == 1:  # nothing that the rule counts
                result[path] = None
                continue
            if (exponent := _exponent(path, totals[path], math.log(m))) is not None:
                result[path] = exponent
        if len(result) == len(parameters):
            return result
    path = next(path for path in totals if path not in result)
    raise TraceError(
        f"{path}: it has too few values ({parameters[path].shape} at base) to tell from noise how its initial "
        "standard deviation depends on the width; let build take (width, seed), so that more draws are "
        "averaged, or initialise it yourself with plan[path].init"
    )


def missing_factors(plan: Plan, exponents: Mapping[str, float | None]) -> dict[str, float]:
    """Returns what the model's own initial values must be multiplied by; only factors that are not 1.

    Args:
      plan: of the target.
      exponents: what `own_exponents` gave, by the paths of the base.
    """
    layers: defaultdict[str, set[float | None]] = defaultdict(set)
    for path, exponent in exponents.items():
        layers[starred(path)].add(exponent)
    factors = {}
    for path, planned in plan.items():
        if planned.init is None:
            continue
        if path in exponents or starred(path) not in layers:
            own = exponents.get(path)
        else:  # in a layer that the base does not have
            own, *others = layers[starred(path)]
            if others:
                raise TraceError(
                    f"{path} is in a layer that the base does not have, and the base's own layers initialise it in "
                    "ways that depend differently on the width; initialise it yourself with plan[path].init"
                )
        if own is None:
            # Constants keep their values, but for what makes good a factor `width^s` of the model's own: without it
            # the parameter would not be the rule's in another scale. Folding, which is of that kind too, is the
            # readout's alone, and a constant readout is zero.
            factor = 1.0 if planned.role in ("output", "tied") else 1.0 / planned.gradient
        else:
            m = planned.m_in if planned.role in _SUMMED else planned.m_out
            factor = planned.init / m**own
        if not math.isclose(factor, 1.0, rel_tol=1e-12):
            factors[path] = factor
    return factors


def _moments(source: Source, width: int, seed: int) -> dict[str, _Moments]:
    def measured(x: Any) -> tuple[Any, Any]:
        wide = np.complex64 if jnp.issubdtype(x.dtype, np.complexfloating) else np.float32
        return x.var(dtype=wide), x.max() == x.min()

    def compute(array: Callable[[Any], Any]) -> dict[str, Any]:
        leaves = named_leaves(source.make(width, seed).params)
        return {path: measured(array(x)) for path, x in leaves.items() if is_parameter(x) and x.size}

    shapes = named_leaves(source.abstract(width).params)
    total = sum(math.prod(leaf.shape) for leaf in shapes.values() if is_parameter(leaf))
    # Jitted, a large model's arrays need not be kept; a small one is not worth the compilation.
    found = compute(np.asarray) if total < _LARGE else jax.device_get(jax.jit(lambda: compute(jnp.asarray))())
    return {
        path: _Moments(tuple(shapes[path].shape), float(np.real(v)), bool(c))
        for path, (v, c) in found.items()
    }


def _check_varies(path: str, base: _Moments, delta: _Moments) -> None:
    if (
        base.constant
        or delta.constant
        or not (0 < base.variance < math.inf and 0 < delta.variance < math.inf)
    ):
        raise TraceError(
            f"{path}: its initial values cannot be compared (variance {base.variance:g} at the first width, "
            f"{delta.variance:g} at the second); initialise it yourself with plan[path].init"
        )


def _exponent(path: str, totals: np.ndarray, log_m: float) -> float | None:
    """The exponent as a multiple of 1/2, or None where more draws are needed."""
    exponent = 0.5 * math.log(totals[2] / totals[3] / (totals[0] / totals[1])) / log_m
    error = math.sqrt(0.5 / totals[1] + 0.5 / totals[3]) / log_m
    if 3 * error > _SURE:
        return None
    snapped = round(2 * exponent) / 2
    if abs(exponent - snapped) > 0.02 + 3 * error:
        raise TraceError(
            f"{path}: its initial standard deviation goes like m**{exponent:.2f}, which is no multiple of 1/2 (an "
            "initialiser that averages fan_in and fan_out does that where only one of them grows); use one that "
            "follows fan_in or is constant, or initialise it yourself with plan[path].init"
        )
    return snapped
