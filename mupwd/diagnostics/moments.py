"""Mean squares at one use of a parameter, from the values that meet there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mupwd.tracing.interpret import Pair, bind
from mupwd.tracing.operations import ADDITIVE
from mupwd.tracing.values import Use

_CONTRACTIONS = ("dot_general", "conv_general_dilated", "ragged_dot", "ragged_dot_general")


class Moments(NamedTuple):
    """Sums over executions of one use; all float32, of equal shape.

    Args:
      input: mean square of the activation.
      output: mean square of the result.
      bound: what `output` is where the parameter and the activation are fully aligned; for sums and the like the mean
        square of the parameter.
      change: mean square of the result's change since the reference.
      count: executions.
    """

    input: Any
    output: Any
    bound: Any
    change: Any
    count: Any


def moments(use: Use, eqn: Any, operands: Sequence[Pair], outputs: Sequence[Pair], compare: bool) -> Any:
    """Moments of one execution of the equation where a use is; all five in one array [5]."""
    name, slot = eqn.primitive.name, use.operands[0]
    own, result = operands[slot], outputs[0].value
    others = [pair.value for i, pair in enumerate(operands) if i not in use.operands]
    if name in _CONTRACTIONS:
        x = others[0]
        input = mean_square(x)
        bound = _contraction_bound(eqn, slot, own.value, x, result)
        change = _linear(eqn, operands, slot)
    elif use.weak:  # a product that was written out, and is summed here
        input = mean_square(own.value)
        bound = jnp.float32((own.value.size / result.size) ** 2)
        change = _linear(eqn, operands, slot)
    elif use.kind == "join":
        input, bound, result = jnp.float32(1), mean_square(own.value), own.value
        change = _difference(own)
    elif use.kind == "lookup" or name == "select_n":
        input, bound = jnp.float32(1), mean_square(own.value)
        change = _compared(eqn, operands, use.operands)
    else:
        x = next((x for x in others if jnp.issubdtype(x.dtype, jnp.inexact)), others[0])
        input, bound = mean_square(x), mean_square(own.value)
        if name == "mul":
            bound, change = input * bound, _linear(eqn, operands, slot)
        elif name in ADDITIVE:
            change = _difference(own)
        else:
            change = _compared(eqn, operands, use.operands)
            if name == "div":
                over, under = (pair.value for pair in operands)
                bound = mean_square(over) * mean_square(1 / under)
    changed = mean_square(change()) if compare else jnp.float32(0)
    return jnp.stack(Moments(input, mean_square(result), bound, changed, jnp.float32(1)))


def meets_as_a_sum(use: Use) -> bool:
    """Whether the bound of a use is the sum, and not the product, of what meets."""
    product = use.primitive in ("mul", "div", "select_n", *_CONTRACTIONS)
    return use.kind in ("product", "sum") and not product


def mean_square(x: Any, axes: Sequence[int] | None = None) -> Any:
    """Mean of |x|^2 in float32 over some axes, or all; nobody asks for its derivative."""
    x = jax.lax.stop_gradient(x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return mean_square(x.real, axes) + mean_square(x.imag, axes)
    axes = tuple(range(x.ndim)) if axes is None else tuple(axes)
    squares = jnp.square(x.astype(jnp.float32))
    # Counts as floats: they may be too large for an int32.
    return jnp.sum(squares, axis=axes) / float(math.prod(x.shape[i] for i in axes))


def ratio(above: Any, below: Any) -> Any:
    """0 where both are 0, as under a parameter that starts at 0."""
    return jnp.where(below == 0, 0, above / jnp.where(below == 0, 1, below))


def _contraction_bound(eqn: Any, slot: int, weight: Any, x: Any, result: Any) -> Any:
    """Mean square of the product if every row of the weight were along every row of the activation.

    By Cauchy and Schwarz no product of matrices is larger; over copies (batch axes) it is their mean.
    """
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        contracting, batch = params["dimension_numbers"]
        terms = math.prod(weight.shape[i] for i in contracting[slot])
        squares = _per_copy(weight, batch[slot]) * _per_copy(x, batch[1 - slot])
        return float(terms) ** 2 * jnp.mean(squares)
    if name == "conv_general_dilated":
        terms = weight.size // weight.shape[params["dimension_numbers"].rhs_spec[0]]
    else:  # every row meets the matrix of its group
        terms = math.isqrt(weight.size * x.size // result.size // _groups(weight, params))
    return float(terms) ** 2 * mean_square(weight) * mean_square(x)


def _groups(weight: Any, params: Any) -> int:
    numbers = params.get("ragged_dot_dimension_numbers")
    axes = (0,) if numbers is None else numbers.rhs_group_dimensions
    return math.prod(weight.shape[i] for i in axes)


def _per_copy(x: Any, batch: Sequence[int]) -> Any:
    """Mean squares along the batch axes, in their own order."""
    kept = sorted(batch)
    squares = mean_square(x, [i for i in range(x.ndim) if i not in batch])
    return jnp.transpose(squares, [kept.index(i) for i in batch])


def _difference(own: Pair) -> Any:
    return lambda: own.value.astype(jnp.float32) - own.other.astype(jnp.float32)


def _linear(eqn: Any, operands: Sequence[Pair], slot: int) -> Any:
    """The equation on the parameter's own change, which loses no digits where that is small."""

    def change() -> Any:
        own = operands[slot]
        if not jnp.issubdtype(own.value.dtype, jnp.inexact):
            return _compared(eqn, operands, (slot,))()
        values = [jax.lax.stop_gradient(pair.value) for pair in operands]
        values[slot] -= jax.lax.stop_gradient(own.other)
        return bind(eqn, values)[0]

    return change


def _compared(eqn: Any, operands: Sequence[Pair], slots: Sequence[int]) -> Any:
    """The equation's result less what it is with the reference parameters on the same activations."""

    def change() -> Any:
        values = [[jax.lax.stop_gradient(pair.value) for pair in operands] for _ in range(2)]
        for slot in slots:
            values[1][slot] = jax.lax.stop_gradient(operands[slot].other)
        now, before = (bind(eqn, v)[0].astype(jnp.float32) for v in values)
        return now - before

    return change
