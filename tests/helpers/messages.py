"""Writes down what mupwd says in errors while the tests run: `pytest --errors=FILE`, for docs/errors.md.

Every exception of the package that a `pytest.raises` catches, or that the command line prints, and every warning that
it logs becomes a line of JSON at the end of FILE: its type, the module that raised it, its message, and what a user
sees of it. An exception that was handled on the way counts too where what a user sees repeats its words. Processes of
one run may share FILE.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from absl import logging

import mupwd
from mupwd.commands import main

_PACKAGE = Path(mupwd.__file__).parent


class Recorder:
    """A plugin that appends to a file.

    Args:
      file: of JSON lines.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self.known: set[str] = set()
        self.patch = pytest.MonkeyPatch()

    def pytest_sessionstart(self) -> None:
        leave, words = pytest.RaisesExc.__exit__, main._words
        refuse, warn = argparse.ArgumentParser.error, logging.warning

        def left(context, kind, error, trace):
            caught = leave(context, kind, error, trace)
            if caught:
                self.write(met(error))
            return caught

        def worded(error):
            self.write(met(error, words(error)))
            return words(error)

        def refused(parser, message):
            module = _module(sys._getframe(1).f_code.co_filename)
            if module is not None:
                self.write([{"type": "SystemExit", "module": module, "message": message, "shown": message}])
            refuse(parser, message)

        def warned(text, *values):
            module = _module(sys._getframe(1).f_code.co_filename)
            if module is not None:
                message = text % values
                self.write([{"type": "warning", "module": module, "message": message, "shown": message}])
            warn(text, *values)

        self.patch.setattr(logging, "warning", warned)
        self.patch.setattr(pytest.RaisesExc, "__exit__", left)
        self.patch.setattr(main, "_words", worded)
        self.patch.setattr(argparse.ArgumentParser, "error", refused)

    def pytest_sessionfinish(self) -> None:
        self.patch.undo()

    def write(self, records) -> None:
        lines = {json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in records}
        new = lines - self.known
        self.known |= new
        if new:
            # One write to a file that is open for appending: lines of several processes do not mix.
            with open(self.file, "ab", buffering=0) as stream:
                stream.write("".join(sorted(new)).encode())


def met(error: BaseException, shown: str | None = None) -> Iterator[dict[str, str]]:
    """Yields a record for an exception of the package, and for each one before it whose words it repeats.

    Args:
      error: as it was caught.
      shown: what a user sees; by default its message.
    """
    shown = _message(error) if shown is None else shown
    one: BaseException | None = error
    while one is not None:
        module = _raised_in(one)
        message = one.strerror if isinstance(one, OSError) and one.filename is not None else _message(one)
        if module is not None and message and message in shown:
            yield {
                "type": type(one).__name__,
                "module": module,
                "message": message,
                "shown": shown,
                "shown_as": type(error).__name__,
            }
        one = one.__cause__ or one.__context__


def _message(error: BaseException) -> str:
    # A KeyError shows its message as Python would write it.
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _raised_in(error: BaseException) -> str | None:
    """The module of the package whose statement raised it, or None."""
    trace, file = error.__traceback__, None
    while trace is not None:
        file, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
    return None if file is None else _module(file)


def _module(file: str) -> str | None:
    path = Path(os.path.abspath(file))
    return path.relative_to(_PACKAGE.parent).as_posix() if path.is_relative_to(_PACKAGE) else None
