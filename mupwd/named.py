"""Objects by name, "package.module:name", as flags and files give them."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

_OURS = str(Path(__file__).parent) + os.sep


class TheirError(ValueError):
    """Code of the user's own raised; its exception is the cause."""


def named(name: str, what: str) -> Any:
    """Returns the object that "package.module:name" names; the current directory is searched first.

    Args:
      name: of the object.
      what: it is for, in messages: a flag.

    Raises:
      ValueError: there is no such module or object.
      TheirError: the module raises, or ends the program.
    """
    # As `python -m` does: the command is installed elsewhere, the model is here.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise ValueError(f"{what} {name!r}: expected package.module:name")
    if module_name.startswith(".") or "/" in module_name or module_name.endswith(".py"):
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise ValueError(
            f"{what} {name!r}: expected the name of a module, as in `import {dotted or 'package.module'}`, not its "
            f"file: {dotted or 'package.module'}:{attribute}"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that the model itself needs is named as it is; only its own absence is a typing error.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise TheirError(
                f"{what} {name!r}: {module_name} needs {error.name}, which is not installed"
            ) from error
        raise ValueError(
            f"{what} {name!r}: no module {error.name!r} here ({os.getcwd()}) or among the installed packages"
        ) from error
    except SystemExit as error:
        # Else our own command would end there, with the script's exit code, as if all were well.
        raise TheirError(
            f"{what} {name!r}: importing {module_name} ran a script that ends the program ({where(error)}); put what "
            'it does behind `if __name__ == "__main__":`'
        ) from error
    except Exception as error:
        raise TheirError(f"{what} {name!r}: importing {module_name} failed: {where(error)}") from error
    found = module
    for part in attribute.split("."):
        try:
            there = hasattr(found, part)
        except Exception as error:  # of a module's own __getattr__, or a property
            raise TheirError(f"{what} {name!r}: reading {part!r} failed: {where(error)}") from error
        if not there:
            public = [
                one for one in vars(module) if not one.startswith("_") and callable(getattr(module, one))
            ]
            raise ValueError(
                f"{what} {name!r}: {module_name} has no {part!r}; it has {', '.join(public) or 'nothing'}"
            )
        found = getattr(found, part)
    return found


def where(error: BaseException) -> str:
    """Returns the error in one line, with the place of the user's own code that raised it.

    Args:
      error: with its traceback.
    """
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}:{error.lineno})"
    frames = traceback.extract_tb(their_trace(error) or error.__traceback__)
    # The deepest that is neither of an installed package nor of Python: what the user can change.
    place = next((one for one in reversed(frames) if not _is_installed(one.filename)), frames[-1])
    return f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"


def their_trace(error: BaseException) -> TracebackType | None:
    """Returns the part of an error's traceback that begins in the user's code; None where none of it is theirs.

    Args:
      error: with its traceback.
    """
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith((_OURS, "<frozen ")) and not _is_installed(file):
            return trace
        trace = trace.tb_next
    return None


def is_ours(error: BaseException) -> bool:
    """Returns whether this package raised an error, and not what it called.

    Args:
      error: with its traceback.
    """
    return traceback.extract_tb(error.__traceback__)[-1].filename.startswith(_OURS)


def _is_installed(file: str) -> bool:
    return file.startswith((_OURS, "<", str(Path(os.__file__).parent))) or "site-packages" in file
