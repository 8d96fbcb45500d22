"""What every parameter does to the activations that it meets, read off a run of the user's own function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from mupwd.diagnostics.moments import Moments, meets_as_a_sum, moments, ratio
from mupwd.diagnostics.uses import measured_uses
from mupwd.family.call import Call, check_function, traced_call
from mupwd.family.models import is_parameter, parameters_of
from mupwd.paths import named_leaves
from mupwd.tracing import TraceError
from mupwd.tracing.interpret import Entries, Evaluate, Interpreter, Pair, Visitor
from mupwd.tracing.values import Location, Use

if TYPE_CHECKING:
    from jaxtyping import Array, Float


class UseStats(NamedTuple):
    """Statistics of one use of a parameter: float32 scalars, or arrays `[layers]` inside a scan over layers.

    Attributes:
      rms_in: root mean square of the activation `x` that meets the parameter, over all its entries.
      rms_out: of the result: the product `W x`, before any bias.
      gain: `rms_out / rms_in`.
      alignment: `‖W x‖ / (‖W‖ ‖x‖)`, with Frobenius norms over the whole batch: 1 where W has rank one and every x
        lies along it, `1 / sqrt(fan_in)` where they are independent.
      change: root mean square of `(W - W0) x`, with `since=` only.

    Example:
      >>> import jax.numpy as jnp
      >>> _, uses = instrument(lambda params, x: params["gain"] * x)({"gain": 3 * jnp.ones(4)}, jnp.ones((2, 4)))
      >>> (use,) = uses["gain"]
      >>> float(use.rms_in), float(use.rms_out), float(use.gain), use.change
      (1.0, 3.0, 3.0, None)
    """

    rms_in: Float[Array, "*layers"]
    rms_out: Float[Array, "*layers"]
    gain: Float[Array, "*layers"]
    alignment: Float[Array, "*layers"]
    change: Float[Array, "*layers"] | None = None


def instrument(
    fn: Callable[..., Any], since: Any = None
) -> Callable[..., tuple[Any, dict[str, list[UseStats]]]]:
    """Returns a function that also says what each parameter does where it is used.

    The function is traced, the uses of its parameters are found as in `trace_axes`, and the same program is
    evaluated with reductions beside them: results and gradients are those of `fn`. A use is a product with an
    activation (`W x`, a convolution), a gain (`g * x`), a sum (`x + b`), a lookup of rows, or a parameter that
    takes an activation's place beside others (a class token):

    ====================  ======  =============  ===============================================================
    use                   rms_in  rms_out        alignment
    ====================  ======  =============  ===============================================================
    product, convolution  x       W x            `‖W x‖ / (‖W‖ ‖x‖)`
    gain, and `x / g`     x       g x            `rms(g x) / (rms(g) rms(x))`
    sum                   x       x + b          `rms(x + b) / (rms(x) + rms(b))`, so for any other operation too
    lookup                1       the rows       `rms(rows) / rms(table)`
    token                 1       the parameter  1
    ====================  ======  =============  ===============================================================

    In a convolution's alignment x counts once per entry of the kernel. Matrices that a product enumerates (experts)
    are copies: its bound is `sum_e ‖W_e‖² ‖x_e‖²`. Where several parameters make one weight before it meets an
    activation (weight normalisation, a LoRA that is merged), each has the statistics of the weight. In a scan, a
    parameter that has an entry per step (layers) has statistics per step; any other has one, over all steps together,
    and so it has in a while loop, or over the devices of a shard_map. A use in a branch that was not taken is NaN.
    Uses in the condition of a while loop, and parameters that a `cond` chooses instead of an activation, have no
    statistics.

    Args:
      fn: called as `fn(params, *args, **kwargs)`, where `params` is a tree of arrays or a model.
      since: parameters `W0` of the same structure (those at the start, say); each use then also has `change`, the
        root mean square of `(W - W0) x` on the same input: `g - g0` times x, `b - b0`, the rows' change. What the
        program makes of W before its use (a cast, a transposition, a normalisation) it makes of W0 as well.

    Returns:
      A function `(params, *args, **kwargs) -> (out, {path: [UseStats, …]})`, with one entry per use, in program
      order; a parameter without a use has none. It can be jitted, differentiated (`has_aux=True`; the statistics
      themselves carry no gradient), vmapped and sharded.

    Raises:
      TraceError: when called: a parameter goes through an operation that is not understood; `since` does not
        have a parameter, or has it in another shape or dtype.
      TypeError: `fn` is no function.

    Example:
      >>> import jax.numpy as jnp
      >>> params = {"w": 2 * jnp.eye(4)}
      >>> out, stats = instrument(lambda params, x: x @ params["w"])(params, jnp.ones((3, 4)))
      >>> [(float(use.rms_in), float(use.rms_out), float(use.alignment)) for use in stats["w"]]
      [(1.0, 2.0, 0.5)]

    Source: alignment as in Everett et al., arXiv 2407.05872, section 3; `(W - W0) x` as in Yang et al., arXiv
    2310.17813.
    """
    check_function(fn)

    def instrumented(params: Any, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, list[UseStats]]]:
        call = traced_call(fn, params, args, kwargs)
        reported = _reported(params, call)
        references = None if since is None else _references(since, reported, call)
        measured = _Measured(call, reported, compare=references is not None)
        out, entries = call.run(measured.interpreter(), references)
        stats = {path: [] for path in call.program.names if path in reported}
        for path, use in measured.uses:
            stats[path].append(measured.stats(use, entries))
        return out, stats

    return instrumented


def _reported(params: Any, call: Call) -> set[str]:
    """Paths of parameters: all floating-point arrays, but not the running statistics of a model."""
    tree = params if isinstance(params, tuple) else parameters_of(params)
    return {path for path, leaf in named_leaves(tree).items() if is_parameter(leaf)} & set(call.program.names)


def _references(since: Any, reported: set[str], call: Call) -> dict[str, Any]:
    tree = since if isinstance(since, tuple) else parameters_of(since)
    found = {path: leaf for path, leaf in named_leaves(tree).items() if is_parameter(leaf)}
    for path, shape, dtype in zip(call.program.names, call.program.shapes, call.program.dtypes, strict=True):
        if path not in reported:
            continue
        if path not in found:
            raise TraceError(
                f"{path}: since= has no parameter of that name; give the parameters of an earlier step, in the same "
                "structure"
            )
        leaf = found[path]
        if leaf.shape != shape or str(leaf.dtype) != dtype:
            raise TraceError(
                f"{path}: since= has it as {leaf.dtype}{list(leaf.shape)}, params as {dtype}{list(shape)}; give the "
                "parameters of an earlier step of the same run"
            )
    return {path: jnp.asarray(leaf) for path, leaf in found.items() if path in reported}


@dataclass
class _Measured:
    """The uses that are measured, and the number of each entry."""

    call: Call
    reported: set[str]
    compare: bool
    uses: list[tuple[str, Use]] = field(init=False)
    numbers: dict[tuple[Location, Any], int] = field(default_factory=dict)
    params: dict[int, set[int]] = field(default_factory=dict)  # of an entry
    shown: dict[Location, list[tuple[int, Use]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.uses = measured_uses(self.call, self.reported)
        for _, use in self.uses:
            self._add(use)
            if use.weak:
                self._add(_of_the_product(use))

    def _add(self, use: Use) -> None:
        key = _key(use)
        if key not in self.numbers:
            self.numbers[key] = number = len(self.numbers)
            self.shown.setdefault(use.location, []).append((number, use))
        self.params.setdefault(self.numbers[key], set()).add(use.param)

    def interpreter(self) -> Interpreter:
        record = self.call.record

        def stacks(scan: Location, number: int) -> bool:
            return any((scan, param) in record.layers for param in self.params[number])

        visitors = {location: _visitor(shown, self.compare) for location, shown in self.shown.items()}
        return Interpreter(visitors, record.functions, stacks)

    def stats(self, use: Use, entries: Entries) -> UseStats:
        own = _means(entries[self.numbers[_key(use)]])
        if use.weak:
            product = entries[self.numbers[_key(_of_the_product(use))]]
            meeting = _means(_as_deep(product, own.input.ndim))
            own = own._replace(input=meeting.input, bound=own.bound * meeting.bound)
        rms_in, rms_out, bound, change = (jnp.sqrt(moment) for moment in own[:4])
        if meets_as_a_sum(use):
            bound += rms_in
        return UseStats(
            rms_in,
            rms_out,
            ratio(rms_out, rms_in),
            ratio(rms_out, bound),
            change if self.compare else None,
        )


def _key(use: Use) -> tuple[Location, Any]:
    return use.location, (use.operands, use.kind, use.weak)


def _of_the_product(use: Use) -> Use:
    """The product of entries that a sum is over."""
    return replace(use, location=use.group, operands=use.group_operands, kind="product", weak=False)


def _visitor(shown: Sequence[tuple[int, Use]], compare: bool) -> Visitor:
    def visit(eqn: Any, operands: list[Pair], evaluate: Evaluate) -> tuple[list[Pair], Entries]:
        outputs, entries = evaluate(operands)
        own = {number: moments(use, eqn, operands, outputs, compare) for number, use in shown}
        return outputs, entries | own

    return visit


def _means(entry: Any) -> Moments:
    parts = Moments(*(entry[..., i] for i in range(len(Moments._fields))))
    return Moments(*(part / parts.count for part in parts))


def _as_deep(entry: Any, depth: int) -> Any:
    """An entry with as many axes of loops as another one."""
    extra = entry.ndim - 1 - depth
    if extra > 0:
        return jnp.sum(entry, axis=tuple(range(depth, depth + extra)))
    return entry.reshape(*entry.shape[:-1], *(1,) * -extra, entry.shape[-1])
