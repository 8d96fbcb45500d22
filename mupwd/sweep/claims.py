"""Which process works on which trial, where several share a directory.

A claim is a file that only one process can create. Its owner touches it now and then; one that nobody touches any
more, or whose process has ended, is taken away. Whether it is touched is told by watching it, not by comparing
clocks: those of two machines differ, and any clock may jump. A process that slept so long that its claim was taken
finds its result recorded by another, or records it first: results are written once, whoever runs what.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from mupwd.files import read_file
from mupwd.proxy.disk import explain_full_disk

PATIENCE = 60.0
"""Seconds without a sign of life after which a claim of another machine is taken away."""

_GONE = (errno.ENOENT, errno.ESTALE)  # the latter where another machine removed it while NFS had it open
_BEATS = 6  # signs of life within the patience


class _Seen(NamedTuple):
    """A claim as it was found: while this stays equal, its owner gave no sign of life."""

    text: str
    touched: int


class Claims:
    """The claims in `directory/claims`; a context manager that gives up its own on the way out.

    Claims that were taken away from owners that ended are kept in `directory/lost`.

    Args:
      directory: of the sweep.
      notify: called with a line of text when a claim is taken away from its owner.
      patience: in seconds; the same for all processes that share the directory.
    """

    def __init__(self, directory: Path, notify: Callable[[str], None], patience: float = PATIENCE):
        self.directory, self._lost = directory / "claims", directory / "lost"
        for folder in (self.directory, self._lost):
            folder.mkdir(parents=True, exist_ok=True)
        self._notify, self._patience = notify, patience
        self._text = json.dumps({**_this_process(), "token": uuid.uuid4().hex})
        self._mine: set[str] = set()
        self._watched: dict[str, tuple[_Seen, float]] = {}
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="claims", daemon=True)

    def __enter__(self) -> Claims:
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._heart.join()
        for name in list(self._mine):
            self.release(name)

    def take(self, name: str) -> bool:
        """Claims a trial; False where another process has it.

        Args:
          name: the trial's id.

        Raises:
          OSError: the directory cannot be written.
        """
        path = self.directory / name
        if path.exists() and not self._remove_if_dead(path):
            return False
        try:
            with explain_full_disk(path, "a claim"), open(path, "x", encoding="utf-8") as file:
                file.write(self._text)
        except FileExistsError:
            return False
        except OSError:
            path.unlink(missing_ok=True)  # empty, it would look like another's
            raise
        self._mine.add(name)
        return True

    def release(self, name: str) -> None:
        """Gives up a claim of this process; one that was taken away stays with its new owner.

        Args:
          name: the trial's id.
        """
        self._mine.discard(name)
        path = self.directory / name
        if _read(path) == self._text:
            path.unlink(missing_ok=True)

    def held(self) -> list[str]:
        """Returns the ids that living processes hold, this one's included."""
        return sorted(
            path.name
            for path in self.directory.iterdir()
            if not path.name.startswith(".") and not self._remove_if_dead(path)
        )

    def running(self) -> list[str]:
        """Returns the ids of claims whose owners gave a sign of life lately, told at one look.

        The file system's clock is compared with itself; a claim is never taken away for that alone.
        """
        probe = self.directory / f".{uuid.uuid4().hex}"
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        found = []
        for name in self.held():
            with contextlib.suppress(OSError):
                if now - (self.directory / name).stat().st_mtime < 2 * self._patience:
                    found.append(name)
        return found

    def losses(self) -> dict[str, list[str]]:
        """Returns, by id, the owners from which a claim was taken away, in words: they ended without giving it up."""
        found: dict[str, list[str]] = {}
        for path in sorted(self._lost.iterdir()):
            found.setdefault(path.name.partition(".")[0], []).append(_words(_read(path) or ""))
        return found

    def _remove_if_dead(self, path: Path) -> bool:
        """Takes a claim away from an owner that ended or gave no sign of life for too long."""
        seen = _look(path)
        if seen is None:
            return True
        if seen.text == self._text:
            return False
        alive = _is_alive(seen.text)
        if alive is not False:
            known, since = self._watched.get(path.name, (None, 0.0))
            if seen != known:
                self._watched[path.name] = seen, time.monotonic()
                return False
            if time.monotonic() - since < self._patience:
                return False
        why = "its process has ended" if alive is False else f"no sign of life for {self._patience:g} s"
        return self._take_away(path, seen, why)

    def _take_away(self, path: Path, seen: _Seen, why: str) -> bool:
        # By renaming: of several processes that want to remove it, one succeeds; and what was lost stays known.
        aside = self._lost / f"{path.name}.{uuid.uuid4().hex}"
        try:
            path.rename(aside)
        except FileNotFoundError:
            return True
        if _read(aside) != seen.text:
            # Another process was quicker, and this is its new claim: give it back.
            with contextlib.suppress(FileExistsError, OSError):
                os.link(aside, path)
            aside.unlink(missing_ok=True)
            return False
        self._watched.pop(path.name, None)
        self._notify(f"trial {path.name} was claimed by {_words(seen.text)}, but {why}: it is free again")
        return True

    def _beat(self) -> None:
        while not self._stop.wait(self._patience / _BEATS):
            for name in list(self._mine):
                # Gone where another process took it away; the disk may be full or away for a while.
                with contextlib.suppress(OSError):
                    path = self.directory / name
                    if _read(path) == self._text:
                        os.utime(path)


def _this_process() -> dict[str, Any]:
    """What tells this process from all others, on this machine and elsewhere."""
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "began": _began(os.getpid()),
    }


def _machine() -> str:
    """This boot of this machine, and the namespace in which process numbers hold; empty where Linux is not."""
    parts = []
    for what in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with contextlib.suppress(OSError):
            parts.append(os.readlink(what) if what.endswith("pid") else Path(what).read_text().strip())
    return " ".join(parts) if len(parts) == 2 else ""


def _began(pid: int) -> str | None:
    """When a process began, in its machine's own unit: numbers of processes are used again."""
    try:
        # The second field, the command's name, is in parentheses and may hold anything.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _is_alive(text: str) -> bool | None:
    """Whether a claim's owner lives; None where that cannot be told from here."""
    try:
        owner = json.loads(text)
        if not owner["machine"] or owner["machine"] != _machine() or owner["host"] != socket.gethostname():
            return None
        return None if _began(owner["pid"]) == owner["began"] else False
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _words(text: str) -> str:
    try:
        owner = json.loads(text)
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, TypeError, KeyError, RecursionError):
        return "a process that left no name"


def _read(path: Path) -> str | None:
    try:
        return read_file(path).decode(errors="replace")
    except OSError:
        return None


def _look(path: Path) -> _Seen | None:
    try:
        return _Seen(read_file(path).decode(errors="replace"), path.stat().st_mtime_ns)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
