"""A model of the user's own, and what belongs to it, as flags name them."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
    except Exception as error:
        raise ValueError(f"{model} failed: {where(error)}") from error


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


def where(error: Exception) -> str:
    """Returns the error in one line, with the place that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"


def named(name: str, what: str) -> Any:
    """Returns the object that "package.module:name" names; the current directory is searched first.

    Args:
      name: of the object.
      what: it is for, in messages: a flag.

    Raises:
      ValueError: there is no such module or object, or the module fails.
    """
    # As `python -m` does: the command is installed elsewhere, the model is here.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise ValueError(f"{what} {name!r}: expected package.module:name")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that the model itself needs is named as it is; only its own absence is a typing error.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{what} {name!r}: {module_name} needs {error.name}, which is not installed"
            ) from error
        raise ValueError(
            f"{what} {name!r}: no module {error.name!r} here ({os.getcwd()}) or among the installed packages"
        ) from error
    except Exception as error:
        raise ValueError(f"{what} {name!r}: importing {module_name} failed: {where(error)}") from error
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [
                one for one in vars(module) if not one.startswith("_") and callable(getattr(module, one))
            ]
            raise ValueError(
                f"{what} {name!r}: {module_name} has no {part!r}; it has {', '.join(public) or 'nothing'}"
            )
        found = getattr(found, part)
    return found
