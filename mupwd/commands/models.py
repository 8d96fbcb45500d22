"""A model of the user's own, and what belongs to it, as flags name them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mupwd.named import TheirError, named, where

if TYPE_CHECKING:
    from mupwd.family import Family

_SHAPE = re.compile(r"(?P<dtype>[a-z]+[0-9]+)\[(?P<sizes>[0-9, ]*)\]")


def family_of(model: str, inputs: Sequence[str] | None, base: int, delta: int | None = None) -> Family:
    """Returns the family of a model that a flag names.

    Args:
      model: "package.module:build".
      inputs: what it is called with: shapes such as "int32[2,128]", or one "package.module:name"; None: `inputs`
        of build's module.
      base: the width that is tuned.
      delta: the second width.

    Raises:
      ValueError: something is not there or not what it should be; the message names the flag.
      TheirError: the model raises.
      TraceError, PlanError: as `mupwd.family`.
    """
    import mupwd

    build = named(model, "model")
    if not callable(build):
        raise ValueError(f"{model} is {type(build).__name__}; expected a function build(width)")
    examples = _inputs(model, inputs)
    try:
        return mupwd.family(build, base=base, inputs=examples, delta=delta)
    except (mupwd.TraceError, mupwd.PlanError):
        raise
    except (Exception, SystemExit) as error:
        raise TheirError(f"{model} failed: {where(error)}") from error


def _inputs(model: str, given: Sequence[str] | None) -> tuple[Any, ...]:
    if not given:
        module = model.partition(":")[0]
        inputs = getattr(importlib.import_module(module), "inputs", None)
        if inputs is None:
            raise ValueError(
                f"what is the model called with? Give shapes, such as --inputs 'int32[2,128]', or "
                f"--inputs package.module:name, or define `inputs` in {module}: a tuple of example inputs"
            )
        return _tuple(inputs, f"{module}:inputs")
    shapes = [_shape(spec) for spec in given if ":" not in spec]
    names = [spec for spec in given if ":" in spec]
    if not names:
        return tuple(shapes)
    if len(given) > 1:
        raise ValueError("--inputs: give either shapes, one per input, or a single package.module:name")
    return _tuple(named(names[0], "--inputs"), names[0])


def _shape(spec: str) -> Any:
    import jax
    import numpy as np

    match = _SHAPE.fullmatch(spec.strip())
    if match is None:
        raise ValueError(f"--inputs {spec!r}: expected a shape such as int32[2,128], or package.module:name")
    sizes = tuple(int(size) for size in match["sizes"].split(",") if size.strip())
    try:
        dtype = jax.numpy.bfloat16 if match["dtype"] == "bfloat16" else np.dtype(match["dtype"])
    except TypeError:
        raise ValueError(
            f"--inputs {spec!r}: no such type as {match['dtype']!r}; try int32 or float32"
        ) from None
    return jax.ShapeDtypeStruct(sizes, dtype)


def _tuple(value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(
            f"{name} is {type(value).__name__}; expected a tuple of example inputs, such as (tokens,)"
        )
    return tuple(value)
