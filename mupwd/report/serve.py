"""Serves a report to browsers on this machine, while runs write."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

PORT = 8642
_ADDRESS = "127.0.0.1"


def serve(
    directories: Iterable[str | os.PathLike[str]],
    make_page: Callable[[Sequence[Path]], str],
    make_data: Callable[[Sequence[Path]], str],
    *,
    port: int = PORT,
) -> None:
    """Serves a page about runs at http://127.0.0.1:PORT/, live, until Ctrl-C.

    The page is what `make_page` returns, with one inline script added, and with `connect-src 'self'` added to a
    content security policy that stands in its `<meta>`. When the runs' files change, the script calls the page's
    `window.mupwdUpdate(payload)`, which may be async, with the parsed JSON of `make_data`. A page without that function
    is loaded again; its URL stays, with the fragment. Errors of the two functions are shown in place of the page, as
    text, until files change.

        GET /        the page
        GET /data    the JSON payload
        GET /events  server-sent events: a number, below 2^53, that changes when the files do; first the present one

    The functions run in threads, each once at a time, and only when files have changed: *.json and *.jsonl in the
    directories, at any depth, except in checkpoints/.

    Only this machine can connect, and only as 127.0.0.1 or localhost, so that no web site can make a browser read the
    runs. From another machine: `ssh -L 8642:127.0.0.1:8642 HOST`.

    Args:
      directories: of runs or sweeps. Those that do not exist are waited for, with a notice: the functions are given
        the ones that do, and are not called while there is none.
      make_page: directories to HTML.
      make_data: directories to JSON text.
      port: 0: any that is free. The address is printed on stdout once it can be opened.

    Raises:
      ValueError: no directory is given, or the port is not a number from 0 to 65535.
      OSError: the port is taken, or may not be used.
      ModuleNotFoundError: the server's packages are missing.
    """
    try:
        import uvicorn

        from mupwd.report.live import application
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"a live report needs {error.name}: pip install 'mupwd[serve]'", name=error.name
        ) from error
    paths = [Path(directory) for directory in directories]
    if not paths:
        raise ValueError("there is nothing to serve: give the directory of a run or of a sweep")
    with _listening(port) as listening:
        config = uvicorn.Config(
            application(paths, make_page, make_data),
            lifespan="off",
            log_level="warning",
            timeout_graceful_shutdown=3,  # Ctrl-C need not wait for a page that is being made
        )
        for path in paths:
            if not path.exists():
                print(f"notice: {path} is not there yet; it is shown once it is", file=sys.stderr)
        print(f"serving http://{_ADDRESS}:{listening.getsockname()[1]}/ (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def _listening(port: int) -> socket.socket:
    """A socket that is bound on this machine's own address."""
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 2**16:
        raise ValueError(f"port must be a number from 0 to {2**16 - 1}, got {port!r}")
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            # Elsewhere this would let two servers share a port; here it only lets one start again at once.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((_ADDRESS, port))
        found.listen()
    except OSError as error:
        found.close()
        taken = error.errno == errno.EADDRINUSE
        reason = "is taken by another program" if taken else f"cannot be used: {error.strerror}"
        raise OSError(f"port {port} {reason}; give another one, or 0 for any that is free") from error
    return found
