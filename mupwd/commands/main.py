"""The `mupwd` command: hands over to one module per subcommand."""

from __future__ import annotations

import argparse
import difflib
import errno
import io
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from absl.flags import argparse_flags

from mupwd.commands import check, demo, plan, report, sweep
from mupwd.named import TheirError, is_ours, their_trace

_DESCRIPTION = """\
Learning rates and weight decays that hold across widths, for JAX and optax.

Tune a narrow model, apply the numbers to a wide one."""

_EPILOG = """\
examples:
  mupwd demo                     see it on real text, in minutes, on a CPU
  mupwd plan --preset llama --base 256 --width 4096 --learning_rate 3e-3 --weight_decay 0.1
  mupwd check                    does a model keep what the rule promises?
  mupwd sweep runs/first         which learning rate and decay are best, and do they move with the width?
  mupwd report runs/first        one page about it, to look at and to send

'mupwd COMMAND --help' explains each command with examples."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      argv: arguments without the program's name; those of the process by default.

    Returns:
      The exit code: 0, 2 after an error that the user can mend, 130 after Ctrl-C; of `check` also 1 and 3, for
      what it found.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal or a file that knows no "→" is given its escape. Another way to go on ("replace") stays.
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")
    # Not abbreviations: a flag that is added later would change what they mean.
    parser = argparse_flags.ArgumentParser(
        prog="mupwd",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="versions and device, for reports of errors"
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for module in (demo, plan, check, sweep, report):
        module.add_parser(commands)
    args = _parsed(parser, commands.choices, sys.argv[1:] if argv is None else list(argv))
    code = 0
    try:
        code = args.run(args)
        # Here, where it is told whether that succeeds.
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(f"\nmupwd {args.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output, such as `head`, has seen enough; nothing is left to be flushed to it.
        sys.stdout = None
        return code
    except (ValueError, OSError, ModuleNotFoundError, RuntimeError) as error:
        if not _is_for_the_user(error):
            raise
        if isinstance(error, TheirError) and error.__cause__ is not None:
            cause = error.__cause__
            traceback.print_exception(type(cause), cause, their_trace(cause))
        print(f"mupwd {args.command}: error: {_words(error)}", file=sys.stderr)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO):
            sys.stdout = None  # perhaps it is the one that takes no more
        return 2


def _parsed(
    parser: argparse.ArgumentParser, commands: Mapping[str, Any], words: list[str]
) -> argparse.Namespace:
    """The arguments; of a command or a flag that there is not, the error names those that are spelt alike."""
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in commands:
        near = difflib.get_close_matches(command, commands, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        parser.error(f"invalid choice: {command!r} (choose from {', '.join(commands)}){hint}")
    args, strangers = parser.parse_known_args(words)
    if strangers:
        known = [flag for action in commands[args.command]._actions for flag in action.option_strings]
        hints = []
        for word in strangers:
            name = word.partition("=")[0]
            near = difflib.get_close_matches(name.replace("-", "_").replace("__", "--", 1), known, n=1)
            hints += near if name.startswith("--") else []
        hint = f"; did you mean {' and '.join(dict.fromkeys(hints))}?" if hints else ""
        commands[args.command].error(f"unrecognized arguments: {' '.join(strangers)}{hint}")
    return args


class _Version(argparse.Action):
    """Prints what the results of a command may depend on, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from mupwd.proxy.manifest import environment

        about = environment()
        device = about["device"]
        for name, version in {**about["versions"], "python": about["python"]}.items():
            print(f"{name} {version or '(not installed)'}")
        print(f"device {device['count']} × {device['kind']} ({device['platform']}, {device['machine']})")
        parser.exit()


def _is_for_the_user(error: Exception) -> bool:
    """Whether the message is written for a person: this package's errors are, and the system's."""
    from mupwd.sweep.errors import SweepError

    if isinstance(error, ModuleNotFoundError):
        return "pip install" in str(error)
    if isinstance(error, OSError | SweepError):
        return True
    # One that a library or the user's own code raised says nothing of where: that needs its traceback.
    return isinstance(error, ValueError) and is_ours(error)


def _words(error: Exception) -> str:
    """The message; of the system's errors without their number."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        return f"{name}: {error.strerror}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
