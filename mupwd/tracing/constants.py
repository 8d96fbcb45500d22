"""Numbers of a program that do not come from its inputs: what they are at the two widths."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import Literal

from mupwd.tracing.values import Size, Value, grows, product

Pair = tuple[float, float]

_KEPT = {
    "broadcast_in_dim",
    "reshape",
    "squeeze",
    "expand_dims",
    "transpose",
    "slice",
    "split",
    "rev",
    "copy",
}
_FOLD: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "add": lambda a, b: a + b,
    "cbrt": np.cbrt,
    "ceil": np.ceil,
    "cos": np.cos,
    "div": lambda a, b: a / b,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "floor": np.floor,
    "log": np.log,
    "log1p": np.log1p,
    "logistic": lambda a: 1 / (1 + np.exp(-a)),
    "max": max,
    "min": min,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "pow": lambda a, b: a**b,
    "round": np.round,
    "rsqrt": lambda a: 1 / np.sqrt(a),
    "sign": np.sign,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "square": lambda a: a * a,
    "sub": lambda a, b: a - b,
    "tanh": np.tanh,
}
_SAME = {"convert_element_type", "copy", "stop_gradient", "reduce_precision", "device_put", "real"}


def differs(pair: Pair | None) -> bool:
    """Whether a number is another one at the second width; NaN equals itself."""
    return pair is not None and pair[0] != pair[1] and not (math.isnan(pair[0]) and math.isnan(pair[1]))


def constant(base: Any, delta: Any) -> Value:
    """A literal, or an array that the program holds."""
    shapes = tuple(zip(np.shape(base), np.shape(delta), strict=True))
    if base is delta and np.ndim(_content(base)):
        return Value(shapes)
    b, d = _array(base), _array(delta)
    if b is None or d is None or not b.size or not d.size:
        return Value(shapes)
    if (b == b.flat[0]).all() and (d == d.flat[0]).all():
        return Value(shapes, constant=(float(b.flat[0]), float(d.flat[0])))
    same = b.shape == d.shape and np.array_equal(b, d, equal_nan=True)
    # Along an axis that grows the values may well be others: a table of frequencies.
    return Value(shapes, varies=not same and not any(map(grows, shapes)))


def folded(name: str, params: Mapping[str, Any], values: Sequence[Value], dims: tuple[Size, ...]) -> Value:
    """The result of an elementwise operation on constants."""
    found = _number(name, params, [v.constant for v in values])
    if found is not None:
        return Value(dims, constant=found)
    unknown = any(v.varies or differs(v.constant) for v in values)
    return Value(dims, varies=unknown and not any(map(grows, dims)))


def computed(name: str, params: Mapping[str, Any], values: Sequence[Value], dims: tuple[Size, ...]) -> Value:
    """The result of any other operation on constants."""
    first = values[0] if values else None
    if first is not None and first.constant is not None and name in _KEPT:
        return Value(dims, constant=first.constant)
    if (
        first is not None
        and first.constant is not None
        and name in ("reduce_sum", "reduce_max", "reduce_min")
    ):
        sizes = product(first.dims[i] for i in params["axes"]) if name == "reduce_sum" else (1, 1)
        return Value(dims, constant=(first.constant[0] * sizes[0], first.constant[1] * sizes[1]))
    # What is taken or summed from an axis that grows may be a number that depends on its size.
    unknown = any(v.varies or differs(v.constant) or v.any_growth for v in values)
    return Value(dims, varies=unknown and not any(map(grows, dims)))


def _number(name: str, params: Mapping[str, Any], pairs: Sequence[Pair | None]) -> Pair | None:
    known = [pair for pair in pairs if pair is not None]
    if len(known) < len(pairs):
        return None
    if name in _SAME:
        return known[0]
    fold = (lambda a: a ** params["y"]) if name == "integer_pow" else _FOLD.get(name)
    if fold is None:
        return None
    try:
        with np.errstate(all="ignore"):
            return float(fold(*(n[0] for n in known))), float(fold(*(n[1] for n in known)))
    except (ArithmeticError, TypeError, ValueError):
        return None


def _content(value: Any) -> Any:
    return value.val if isinstance(value, Literal) else value


def _array(value: Any) -> np.ndarray | None:
    """A concrete array of numbers; None for tracers, keys and anything else."""
    value = _content(value)
    if isinstance(value, Tracer) or jnp.issubdtype(getattr(value, "dtype", np.float32), jax.dtypes.extended):
        return None
    found = np.asarray(value)
    numeric = found.dtype.kind in "biuf" or found.dtype.name == "bfloat16"
    return found.astype(np.float64) if numeric else None
