"""The web application of a live report: the page, its data, and word of changes."""

from __future__ import annotations

import html
import importlib.resources
import re
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mupwd.report.changes import Changes

Make: TypeAlias = Callable[[Sequence[Path]], str]
_HOSTS = ["127.0.0.1", "localhost"]
_LOOK_SECONDS = 0.5
_GRACE_SECONDS = 2.0
_HEADERS = {
    "Cache-Control": "no-store",
    # No other site may show, load or guess at what is served here.
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = re.compile(r'(<meta http-equiv="Content-Security-Policy" content="[^"]*)(")')
_NOTE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>mupwd report</title>
<meta name="color-scheme" content="light dark"></head>
<body><pre style="white-space: pre-wrap">{}</pre></body></html>
"""


def application(directories: Sequence[Path], make_page: Make, make_data: Make) -> Starlette:
    """Returns the application that `mupwd.report.serve.serve` describes.

    Args:
      directories: of runs; they need not exist.
      make_page: directories to HTML.
      make_data: directories to JSON text.
    """
    changes = Changes(directories)
    pages, payloads = _Made(make_page, directories, changes), _Made(make_data, directories, changes)

    # Not coroutines: these run in a thread each, and events go on meanwhile.
    def page(_: Request) -> Response:
        version = changes.version()
        try:
            version, text = pages.get()
        except Exception as error:
            return _respond(_live(_NOTE.format(html.escape(_words(error))), version), "text/html", 503)
        return _respond(_live(text, version), "text/html")

    def data(_: Request) -> Response:
        try:
            return _respond(payloads.get()[1], "application/json")
        except Exception as error:
            return _respond(_words(error), "text/plain", 503)

    def icon(_: Request) -> Response:
        return Response(status_code=204)  # browsers ask, and complain where nothing answers

    async def events(_: Request) -> Response:
        ending = anyio.Event()  # so that a stream ends before it is cancelled
        return EventSourceResponse(
            _versions(changes, ending),
            headers=_HEADERS,
            shutdown_event=ending,
            shutdown_grace_period=_GRACE_SECONDS,
        )

    return Starlette(
        routes=[
            Route("/", page),
            Route("/data", data),
            Route("/events", events),
            Route("/favicon.ico", icon),
        ],
        # The name of another site that was made to resolve to this machine is not one of these.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS, www_redirect=False)],
    )


class _Made:
    """What a function makes of the directories; made anew only when files have changed."""

    def __init__(self, make: Make, directories: Sequence[Path], changes: Changes):
        self._make, self._directories, self._changes = make, directories, changes
        self._lock = threading.Lock()
        self._made: tuple[int, str] | None = None

    def get(self) -> tuple[int, str]:
        """Returns the version of the files, and what was made of them."""
        with self._lock:
            # Asked before the files are read: what changes in between has another version.
            version = self._changes.version()
            if self._made is None or self._made[0] != version:
                there = [directory for directory in self._directories if directory.exists()]
                if not there:
                    names = ", ".join(map(str, self._directories))
                    raise FileNotFoundError(
                        f"Waiting for {names}: not there yet. Runs appear here once they begin."
                    )
                self._made = version, self._make(there)
            return self._made


async def _versions(changes: Changes, ending: anyio.Event) -> AsyncIterator[ServerSentEvent]:
    told = None
    while not ending.is_set():
        version = await run_in_threadpool(changes.version)
        if version != told:
            yield ServerSentEvent(data=version)
            told = version
        with anyio.move_on_after(_LOOK_SECONDS):
            await ending.wait()


def _live(page: str, version: int) -> str:
    """The page with the script that keeps it up to date."""
    code = (importlib.resources.files("mupwd.report") / "static" / "live.js").read_text(encoding="utf-8")
    script = f'<script data-version="{version}">{code}</script>'
    # A page that opens from disk may forbid itself every connection; here it has this server.
    page = _POLICY.sub(r"\1; connect-src 'self'\2", page, count=1)
    before, end, after = page.rpartition("</body>")
    return f"{before}{script}{end}{after}" if end else f"{page}{script}"


def _words(error: Exception) -> str:
    """Messages of these kinds are written for the user; others are mistakes of the program."""
    return str(error) if isinstance(error, ValueError | OSError) else traceback.format_exc()


def _respond(text: str, media_type: str, status: int = 200) -> Response:
    # A half of a surrogate pair, as a name in a log may hold, has no UTF-8; it becomes "\\ud800", also in JSON.
    content = text.encode("utf-8", errors="backslashreplace")
    return Response(content, status, media_type=f"{media_type}; charset=utf-8", headers=_HEADERS)
