"""What several subcommands do alike."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def need(who: str, *packages: str, extra: str = "proxy") -> None:
    """Refuses to start without packages of an extra.

    Args:
      who: needs them, for the message.
      packages: by the names that they are imported by.
      extra: that brings them.

    Raises:
      ModuleNotFoundError: some are missing.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ModuleNotFoundError(f"{who} needs {', '.join(missing)}: pip install 'mupwd[{extra}]'")


def integers(flag: str, text: str) -> tuple[int, ...]:
    """Returns the whole numbers of a flag.

    Args:
      flag: its name, for the message.
      text: numbers separated by commas.

    Raises:
      ValueError: it reads otherwise.

    Example:
      >>> integers("--widths", "32,64")
      (32, 64)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{flag}: expected whole numbers separated by commas, got {text!r}") from None


def split_names(text: str) -> tuple[str, ...]:
    """Returns names that commas separate, but for the commas in parentheses and braces.

    Args:
      text: of a flag.

    Example:
      >>> split_names("mupwd, fitted({'a': 1, 'b': 0.5})")
      ('mupwd', "fitted({'a': 1, 'b': 0.5})")
    """
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return tuple(part.strip() for part in parts)


def pair(flag: str, text: str) -> tuple[str, Any]:
    """Returns the name and the value of a flag such as `--set layers=4`.

    Args:
      flag: its name, for the message.
      text: NAME=VALUE; the value is read as TOML does, and is text where that cannot.

    Raises:
      ValueError: it reads otherwise.

    Example:
      >>> pair("--set", "layers=4"), pair("--set", "decay=independent")
      (('layers', 4), ('decay', 'independent'))
    """
    name, equals, value = text.partition("=")
    # As commands spell their options: gpus-per-node.
    name = name.strip().lstrip("-").replace("-", "_")
    if not equals or not name.isidentifier():
        raise ValueError(f"{flag}: expected NAME=VALUE, got {text!r}")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def again(args: argparse.Namespace) -> str:
    """Returns the command that goes on with a sweep where it was started.

    Args:
      args: of `mupwd sweep`.
    """
    words = ["mupwd", "sweep", str(args.directory)]
    if args.executor != "local":
        words += ["--executor", args.executor]
    if args.workers is not None:
        words += ["--workers", str(args.workers)]
    for one in args.resource:
        words += ["--resource", one]
    return shlex.join(words)


def interrupted(command: str, directory: Path, again: str = "the same command") -> int:
    """Says what Ctrl-C has left of a study, and how to go on; returns the exit code.

    Args:
      command: "mupwd demo".
      directory: with the trials.
      again: what goes on.
    """
    finished = len(list(directory.glob("trials/*.json")))
    print(
        f"\n{command}: interrupted; {finished} finished trials are in {directory}, {again} goes on",
        file=sys.stderr,
    )
    return INTERRUPTED
