"""Objects by name, "package.module:name", as flags and files give them."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any


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


def where(error: Exception) -> str:
    """Returns the error in one line, with the place that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
