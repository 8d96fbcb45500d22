"""The `mupwd` command's first lines: they answer Ctrl-C while JAX is being imported.

A module beside the package: whoever imports from the package imports JAX with it, for seconds in which Ctrl-C would
end in a traceback, or in an error of the C++ library that it hits.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Runs the command line; see `mupwd.commands.main.main`."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # it is ignored in scripts, after &
    if ours:
        signal.signal(signal.SIGINT, _end)
    from mupwd.commands.main import main as run
    from mupwd.sweep.interrupts import interrupt

    if ours:
        signal.signal(signal.SIGINT, interrupt)
    return run()


def _end(number: int, frame: FrameType | None) -> None:
    """Ends the process at once: nothing has begun that would have to be left in order."""
    os.write(2, b"\nmupwd: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
