"""The gain of every residual branch: attention and MLP blocks, as the function runs them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from mupwd.diagnostics.moments import mean_square, ratio
from mupwd.diagnostics.uses import evaluated, order
from mupwd.family.call import check_function, traced_call
from mupwd.tracing import TraceError
from mupwd.tracing.interpret import Entries, Evaluate, Interpreter, Pair, Visitor
from mupwd.tracing.values import Branch, Location, Record

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def sublayer_gains(
    fn: Callable[..., Any],
) -> Callable[..., tuple[Any, dict[str, Float[Array, "*layers"]]]]:
    """Returns a function that also says how large each residual branch is beside the stream that it is added to.

    In a sum `x + f(x)` whose branch `f` holds matrix parameters, the gain is `rms(f(x)) / rms(x)`, over all
    entries of the batch. A branch is named by what the paths of its matrices have in common, "layers/0/attention";
    where two branches have the same in common, or nothing, by their matrices as well, "layers/0/(down, up)"; and
    where they hold the same matrices, as layers that share theirs do, by a number as well.

    Args:
      fn: called as `fn(params, *args, **kwargs)`, where `params` is a tree of arrays or a model.

    Returns:
      A function `(params, *args, **kwargs) -> (out, {name: gain})`: float32 scalars, or arrays `[layers]` inside a
      scan over layers. It can be jitted, differentiated (`has_aux=True`; gains carry no gradient) and vmapped.

    Raises:
      TypeError: `fn` is no function.
      TraceError: when called: fn has no residual branch that holds a matrix.

    Example:
      >>> import jax.numpy as jnp
      >>> params = {"mlp": {"up": 3 * jnp.eye(4), "down": jnp.eye(4)}}
      >>> fn = lambda params, x: x + (x @ params["mlp"]["up"]) @ params["mlp"]["down"]
      >>> out, gains = sublayer_gains(fn)(params, jnp.ones((2, 4)))
      >>> {name: float(gain) for name, gain in gains.items()}
      {'mlp': 3.0}

    Source: the sublayer gain of Fan et al., arXiv 2510.15262, section 3.
    """
    check_function(fn)

    def measured(params: Any, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        call = traced_call(fn, params, args, kwargs)
        branches = _named(call.record, call.program.names)
        if not branches:
            raise TraceError(
                "fn has no sum x + f(x) whose f holds a matrix parameter; is it the model, and not its last layer?"
            )
        visitors = {
            location: _visitor(number, branch) for number, (location, branch) in enumerate(branches.values())
        }
        layers = {scan for scan, _ in call.record.layers}
        out, entries = call.run(Interpreter(visitors, stacks=lambda scan, _: scan in layers))
        squares = {name: entries[number] for number, name in enumerate(branches)}
        return out, {name: jnp.sqrt(ratio(s[..., 0], s[..., 1])) for name, s in squares.items()}

    return measured


def _visitor(number: int, branch: Branch) -> Visitor:
    def visit(eqn: Any, operands: list[Pair], evaluate: Evaluate) -> tuple[list[Pair], Entries]:
        outputs, entries = evaluate(operands)
        inside, stream = operands[branch.operand].value, operands[1 - branch.operand].value
        return outputs, entries | {number: jnp.stack([mean_square(inside), mean_square(stream)])}

    return visit


def _named(record: Record, names: Sequence[str]) -> dict[str, tuple[Location, Branch]]:
    """Residual branches that hold matrices, in program order."""
    matrices = [use for use in record.uses.values() if use.kind == "contraction" and not use.weak]
    found: list[tuple[Location, Branch, list[list[str]]]] = []
    for location, branch in record.branches.items():
        inside = {
            names[use.param]
            for use in matrices
            if any(use.location[:n] in branch.equations for n in range(1, len(use.location) + 1))
        }
        if inside and evaluated(location):
            # haiku's keys hold their modules' paths.
            found.append((location, branch, [re.split("/|%2F", path) for path in sorted(inside)]))
    found.sort(key=lambda item: order(item[0]))

    shared = [_common([path[:-1] for path in paths]) for *_, paths in found]
    often = Counter(map(tuple, shared))
    named: dict[str, tuple[Location, Branch]] = {}
    for common, (location, branch, paths) in zip(shared, found, strict=True):
        name = "/".join(common)
        if not common or often[tuple(common)] > 1:
            rest = ", ".join("/".join(path[len(common) :]) for path in paths)
            name = f"{name}/{rest if len(paths) == 1 else f'({rest})'}".lstrip("/")
        repeats = sum(known == name or known.startswith(f"{name}#") for known in named)
        named[f"{name}#{repeats + 1}" if repeats else name] = (location, branch)
    return named


def _common(paths: Sequence[Sequence[str]]) -> list[str]:
    """The longest beginning that all have."""
    common = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return common
