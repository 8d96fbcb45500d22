"""What the flags of `mupwd sweep`, its file and its directory declare together."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Container
from typing import Any

from mupwd.commands.shared import integers, pair, split_names
from mupwd.sweep.declare import AXES, Sweep, fields_of, read_declaration
from mupwd.sweep.grid import octaves, parse_values

_NEW: dict[str, Any] = {
    "widths": (32, 64, 128),
    "learning_rates": octaves(2**-9, 2**-3),
    "weight_decays": octaves(2**-4, 1.0, 2.0),
    "recipes": ("mupwd", "sp"),
    "seeds": (0, 1),
    "steps": 400,
}
_EITHER = (
    ("steps", "tokens_per_parameter"),
    ("tokens_per_parameter", "steps"),
    ("halving", "optuna"),
    ("optuna", "halving"),
)
_FLAGS = (
    "learning_rates",
    "weight_decays",
    "seeds",
    "base",
    "steps",
    "tokens_per_parameter",
    "train",
    "halving",
    "optuna",
)
# What may change from one start to the next: of the rest the directory's manifest allows no change.
_MAY_CHANGE = (*AXES, "halving", "optuna")


def declared(args: argparse.Namespace, known: Sweep | None, notify: Callable[[str], None]) -> Sweep:
    """Returns what the directory holds, overridden by the file, overridden by flags.

    Where these change what the directory holds, or leave out what it holds and a new sweep would not, that is told: a
    command that is given twice must not mean two things without a word.

    Args:
      args: of the command.
      known: the sweep that the directory holds; None: none.
      notify: is told.

    Raises:
      ValueError: a flag or the file cannot be read, or the sweep is none.
    """
    fields = _NEW if known is None else {name: getattr(known, name) for name in Sweep.__dataclass_fields__}
    fields = dict(fields)
    from_file = {} if args.config is None else read_declaration(args.config)
    from_flags = fields_of(_flags(args), "flags")
    for more in (from_file, from_flags):
        more = more | {name: more[name] or None for name in ("halving", "optuna") if name in more}
        # One horizon replaces the other, and one way to leave trials out.
        for name, other in _EITHER:
            if more.get(name) is not None and more.get(other) is None:
                fields.pop(other, None)
        fields |= more
    given = dict(pair("--set", one) for one in args.set)
    fields["hyperparameters"] = {**fields.get("hyperparameters", {}), **given}
    sweep = Sweep(**fields)
    if known is not None and (from_file or from_flags):
        _tell(str(args.directory), known, sweep, from_file.keys() | from_flags.keys(), notify)
    return sweep


def _flags(args: argparse.Namespace) -> dict[str, Any]:
    flags = {name: value for name in _FLAGS if (value := getattr(args, name)) is not None}
    for name in ("learning_rates", "weight_decays"):
        if name in flags:
            flags[name] = parse_values(f"--{name}", flags[name])
    if args.widths is not None:
        flags["widths"] = integers("--widths", args.widths)
    if args.recipes is not None:
        flags["recipes"] = split_names(args.recipes)
    return flags


def _tell(
    directory: str, known: Sweep, sweep: Sweep, given: Container[str], notify: Callable[[str], None]
) -> None:
    for name in _MAY_CHANGE:
        what, before, now = name.replace("_", " "), getattr(known, name), getattr(sweep, name)
        if before != now and (not isinstance(now, tuple) or set(before) != set(now)):
            notify(
                f"{what}: {_words(now)} ({directory} had {_words(before)}); results are kept, and only what is "
                "declared now is judged"
            )
        elif name not in given and now != _NEW.get(name):
            notify(
                f"{what}: {_words(now)}, as {directory} has it; --{name} changes it (a new sweep has "
                f"{_words(_NEW.get(name))})"
            )


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(one if isinstance(one, str) else f"{one:g}" for one in value)
    return "none" if value is None else str(value)
