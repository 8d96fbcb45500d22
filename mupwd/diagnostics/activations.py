"""Sizes of the products of two activations: attention's logits, and what its weights make of the values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from mupwd.diagnostics.moments import mean_square
from mupwd.diagnostics.uses import evaluated, order
from mupwd.family.call import check_function, traced_call
from mupwd.tracing.interpret import Entries, Evaluate, Interpreter, Pair, Visitor
from mupwd.tracing.values import Location

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class ProductStats(NamedTuple):
    """Root mean squares of a product of two activations: float32 scalars, or `[layers]` inside a scan over layers.

    Attributes:
      rms_out: of the product as it is contracted.
      rms_scaled: after the constants that the program then multiplies or divides it by, such as the attention scale;
        the same number where there are none.

    Example:
      >>> import jax.numpy as jnp
      >>> scores = lambda params, x: (x @ params["q"]) @ x.T * 0.5
      >>> _, products = activation_products(scores)({"q": jnp.eye(4)}, jnp.ones((2, 4)))
      >>> (found,) = next(iter(products.values()))
      >>> float(found.rms_out), float(found.rms_scaled)
      (4.0, 2.0)
    """

    rms_out: Float[Array, "*layers"]
    rms_scaled: Float[Array, "*layers"]


def activation_products(
    fn: Callable[..., Any],
) -> Callable[..., tuple[Any, dict[str, list[ProductStats]]]]:
    """Returns a function that also says how large every product of two activations is.

    These are the contractions in which no parameter takes part: queries with keys, attention weights with values.
    A scale of the queries is in the product already. Masked entries count as they are before the mask. It can be
    wrapped around, or by, `instrument` and `sublayer_gains`; the program stays one.

    Args:
      fn: called as `fn(params, *args, **kwargs)`, where `params` is a tree of arrays or a model.

    Returns:
      A function `(params, *args, **kwargs) -> (out, {"model.py:31": [ProductStats, …]})`, by source line as
      `plan.logits` names them, one entry per product in program order. It can be jitted, differentiated
      (`has_aux=True`; the statistics carry no gradient) and vmapped.

    Raises:
      TypeError: `fn` is no function.
      TraceError: (from the call) the program keeps values in mutable arrays.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> def attention(params, x):
      ...     q, k = x @ params["q"], x @ params["k"]
      ...     return jax.nn.softmax((q @ k.T) / 2) @ x
      >>> params = {"q": jnp.eye(4), "k": jnp.eye(4)}
      >>> out, products = activation_products(attention)(params, jnp.ones((3, 4)))
      >>> [(float(p.rms_out), float(p.rms_scaled)) for p in [use for uses in products.values() for use in uses]]
      [(4.0, 2.0), (1.0, 1.0)]
    """
    check_function(fn)

    def measured(params: Any, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, list[ProductStats]]]:
        call = traced_call(fn, params, args, kwargs)
        record = call.record
        places = sorted(filter(evaluated, record.products), key=order)
        shown: dict[Location, list[int]] = {}
        for number, place in enumerate(places):
            shown.setdefault(place, []).append(2 * number)
            shown.setdefault(record.multiples.get(place, place), []).append(2 * number + 1)
        layers = {scan for scan, _ in record.layers}
        visitors = {place: _visitor(numbers) for place, numbers in shown.items()}
        out, entries = call.run(Interpreter(visitors, stacks=lambda scan, _: scan in layers))
        found: dict[str, list[ProductStats]] = {}
        for number, place in enumerate(places):
            stats = ProductStats(*(_root(entries[2 * number + i]) for i in range(2)))
            found.setdefault(record.products[place].source, []).append(stats)
        return out, found

    return measured


def _visitor(numbers: list[int]) -> Visitor:
    def visit(eqn: Any, operands: list[Pair], evaluate: Evaluate) -> tuple[list[Pair], Entries]:
        outputs, entries = evaluate(operands)
        entry = jnp.stack([mean_square(outputs[0].value), jnp.float32(1)])
        return outputs, entries | dict.fromkeys(numbers, entry)

    return visit


def _root(entry: Any) -> Any:
    return jnp.sqrt(entry[..., 0] / entry[..., 1])
