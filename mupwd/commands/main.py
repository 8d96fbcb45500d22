"""The `mupwd` command: hands over to one module per subcommand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from absl.flags import argparse_flags

from mupwd.commands import check, demo, plan, report, sweep

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
    args = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print(f"\nmupwd {args.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output, such as `head`, has seen enough; nothing is left to be flushed to it.
        sys.stdout = None
        return 0
    except (ValueError, OSError, ModuleNotFoundError, RuntimeError) as error:
        if not _is_for_the_user(error):
            raise
        print(f"mupwd {args.command}: error: {error}", file=sys.stderr)
        return 2


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
    return isinstance(error, ValueError | OSError | SweepError)


if __name__ == "__main__":
    sys.exit(main())
