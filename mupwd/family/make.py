"""Makes families: from a function that builds models, or from shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from mupwd.family.agreement import check_agreement, check_axis_names, described
from mupwd.family.annotations import read_annotations
from mupwd.family.family import Family
from mupwd.family.folds import with_folds
from mupwd.family.models import is_parameter, parameters_of
from mupwd.family.source import Source
from mupwd.paths import named_leaves, pattern_of
from mupwd.tracing.decide import Shapes, decide, logits
from mupwd.tracing.errors import TraceError
from mupwd.tracing.overrides import stated_parameters
from mupwd.tracing.roles import Parameter
from mupwd.tracing.trace import Program, pair_shapes, walk
from mupwd.tracing.values import grows


def family(
    build: Callable[..., Any],
    *,
    base: int,
    inputs: Sequence[Any],
    delta: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    axis_names: Mapping[str, str] | None = None,
    call: Callable[..., Any] | None = None,
) -> Family:
    """Reads a model's own program at two widths and works out what every parameter is.

    Nothing is computed and no memory is used: `build` and the model run on abstract values.

    Args:
      build: `build(width)` or `build(width, seed)` returns an nnx, linen or equinox model, haiku's
        `Transformed`, or a pair `(fn, params)` with `fn(params, *inputs)`; also the pair of
        `equinox.nn.make_with_state`. The seed is an integer.
      base: the width that hyperparameters are tuned at.
      inputs: example inputs, or `jax.ShapeDtypeStruct`s; batch sizes are free. Python scalars are passed on
        as they are, so that they can be flags.
      delta: a second width, to see what grows; 2 × base by default. At both, the same code must run.
      overrides: `{pattern: statement}` for parameters that the program does not decide. A pattern is a
        regular expression for a whole path; a statement is a role and one word per axis, such as
        `"narrow: in out"`, or an `optax.contrib.MuonDimensionNumbers`.
      axis_names: `{name: what it does}` for axes that the model names (linen's and nnx's logical axes, haliax's),
        such as `{"embed": "grows", "layers": "stack fixed"}`: some of in, out, stack, lookup, elementwise,
        grows, fixed. The program is held against it; names that are left out may do anything.
      call: `call(model, *inputs)`, where the model is not simply called; a linen module is given as
        `call(module, variables, *inputs)`, an equinox model with state as `call(model, state, *inputs)`. Without
        it a linen module is applied in training mode, with a key for every stream of randomness.

    Returns:
      The family; `family.plan(width)` is next.

    Raises:
      TraceError: nothing grows, the two programs differ in more than sizes, a parameter's role is not
        decided (the message names it, the source line and the override to write), or the model's own metadata
        contradicts its program (the message shows both).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> def build(width):
      ...     fn = lambda params, x: jax.nn.relu(x @ params["up"]) @ params["out"]
      ...     return fn, {"up": jnp.ones((3, width)), "out": jnp.ones((width, 2))}
      >>> made = family(build, base=64, inputs=(jnp.ones((5, 3)),))
      >>> {path: parameter.role for path, parameter in made.parameters.items()}
      {'out': 'output', 'up': 'input'}
    """
    base = _width("base", base)
    delta = 2 * base if delta is None else _width("delta", delta)
    if delta <= base:
        raise TraceError(f"delta={delta} must be larger than base={base}")
    if not isinstance(inputs, Sequence) or isinstance(inputs, str):
        raise TraceError(
            f"inputs is {type(inputs).__name__}; expected a tuple of example inputs, such as inputs=(tokens,)"
        )
    _check_mapping("overrides", overrides or {}, "patterns to statements", "{'.*/kernel': 'matrix: in out'}")
    _check_mapping("axis_names", axis_names or {}, "names to what they do", "{'layers': 'stack'}")
    source = Source(build, tuple(inputs), call)
    programs = source.program(base), _second_program(source, base, delta)
    if not programs[0].names:
        raise TraceError(
            "the model that build() returned has no parameters (floating-point arrays in its tree); a plain "
            "function goes together with its parameters, as a pair (fn, params)"
        )
    shapes = pair_shapes_checked(*programs)
    _check_growth(shapes, f"between base={base} and delta={delta}")
    stated = stated_parameters(overrides or {}, shapes)
    written = read_annotations(source.abstract(base).params)
    check_axis_names(axis_names or {}, written)
    record = walk(*programs)
    parameters = decide(shapes, record, stated, delta / base, described(shapes, written))
    check_agreement(parameters, shapes, written, axis_names or {}, stated)
    found = logits(record)
    return Family(with_folds(parameters, *programs, record, found), base, delta, found, source)


def family_from_shapes(base_params: Any, delta_params: Any, *, axes: Mapping[str, Any]) -> Family:
    """Makes a family where there is no function to trace, from shapes and what the axes do.

    Args:
      base_params: parameters, or their shapes, at the base width.
      delta_params: the same at a second width.
      axes: `{pattern: statement}` for every parameter that grows, as `overrides` of `mupwd.family`:
        `{".*/kernel": "in out", "embed": "lookup out", "readout": "output: in out", ".*/scale": "elementwise"}`.

    Returns:
      The family; it has no widths and builds no models: `family.plan(params)` is next.

    Raises:
      TraceError: a parameter that grows is not described, or only one of its sides grows and the role that
        decides is not stated.

    Example:
      >>> import jax.numpy as jnp
      >>> shapes = lambda d: {"up": jnp.ones((d, 4 * d)), "gain": jnp.ones(d)}
      >>> made = family_from_shapes(shapes(8), shapes(16), axes={"up": "in out", "gain": "elementwise"})
      >>> made.parameters["up"].role, made.parameters["gain"].role
      ('matrix', 'vector')
    """
    _check_mapping("axes", axes, "patterns to statements", "{'.*/kernel': 'matrix: in out'}")
    base, delta = (
        {path: leaf for path, leaf in named_leaves(parameters_of(p)).items() if is_parameter(leaf)}
        for p in (base_params, delta_params)
    )
    shapes = _paired(
        {path: tuple(leaf.shape) for path, leaf in base.items()},
        {path: tuple(leaf.shape) for path, leaf in delta.items()},
        {path: str(np.dtype(leaf.dtype)) for path, leaf in base.items()},
    )
    _check_growth(shapes, "between the two trees of parameters")
    stated = stated_parameters(axes, shapes)
    missing = [p for p, s in shapes.items() if p not in stated and any(map(grows, s.dims))]
    if missing:
        first = shapes[missing[0]].dims
        words = (
            "elementwise"
            if len(first) == 1
            else " ".join(["in", "out", *["stack"] * len(first)][: len(first)])
        )
        raise TraceError(
            f"{missing[0]} grows from {tuple(b for b, _ in first)} to {tuple(d for _, d in first)}, but axes= does not "
            f"say what its axes do ({len(missing)} parameter(s) in all: {', '.join(missing[:5])}"
            f"{', …' if len(missing) > 5 else ''}); add, for example, axes={{{pattern_of(missing[0])!r}: {words!r}}}"
        )
    parameters = {
        path: stated.get(path)
        or Parameter(
            path,
            "scalar",
            tuple(b for b, _ in s.dims),
            s.dtype,
            ("elementwise",) * len(s.dims),
            (False,) * len(s.dims),
            uses=("nothing of it grows",),
        )
        for path, s in shapes.items()
    }
    return Family(parameters, None, None)


def _width(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise TraceError(f"{name}={value!r}: a width is a positive integer")
    return int(value)


def _second_program(source: Source, base: int, delta: int) -> Program:
    try:
        return source.program(delta)
    except Exception as error:
        error.add_note(
            f"{delta} is the second width, which base={base} is compared with; delta= takes another."
        )
        raise


def _check_mapping(name: str, value: Any, kind: str, example: str) -> None:
    if not isinstance(value, Mapping):
        raise TraceError(
            f"{name} is {type(value).__name__}; expected a mapping from {kind}, such as {name}={example}"
        )


def pair_shapes_checked(base: Any, delta: Any) -> dict[str, Shapes]:
    """Sizes at both widths of two programs' parameters, once it is sure that they are the same ones."""
    _paired(
        dict(zip(base.names, base.shapes, strict=True)),
        dict(zip(delta.names, delta.shapes, strict=True)),
        dict(zip(base.names, base.dtypes, strict=True)),
    )
    return pair_shapes(base, delta)


def _paired(
    base: Mapping[str, tuple[int, ...]], delta: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]
) -> dict[str, Shapes]:
    for here, there, where in ((base, delta, "second"), (delta, base, "first")):
        missing = [path for path in here if path not in there]
        if missing:
            raise TraceError(
                f"{len(missing)} parameter(s) do not exist at the {where} width: {', '.join(missing[:3])}"
                f"{', …' if len(missing) > 3 else ''}; base and delta must have the same parameters: build both with "
                "the same depth and options"
            )
    for path, shape in base.items():
        if len(shape) != len(delta[path]):
            raise TraceError(
                f"{path} has {len(shape)} axes at the first width, {shape}, and {len(delta[path])} at the second, "
                f"{delta[path]}; only sizes may depend on the width"
            )
    return {
        path: Shapes(tuple(zip(shape, delta[path], strict=True)), dtypes[path])
        for path, shape in base.items()
    }


def _check_growth(shapes: Mapping[str, Shapes], where: str) -> None:
    if not any(grows(size) for shape in shapes.values() for size in shape.dims):
        raise TraceError(
            f"no parameter changes its shape {where}: does build use its width argument? Nothing would be scaled"
        )
