"""Notices that the files of runs have changed."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_SUFFIXES = (".json", ".jsonl")
_SKIPPED = ("checkpoints",)
_SECONDS = 1.0
# Of the time that passes, at most so much is spent looking: a sweep on a network file system has many files.
_SHARE = 0.05


class Changes:
    """Watches directories of runs by looking at the names, sizes and times of their JSON files.

    Looking works on every file system, also where another machine writes.

    Args:
      directories: of runs or sweeps, or single files; they need not exist.

    Example:
      >>> import tempfile
      >>> changes = Changes([Path(tempfile.mkdtemp())])
      >>> changes.version() == changes.version()
      True
    """

    def __init__(self, directories: Iterable[Path]):
        self._directories = list(directories)
        self._lock = threading.Lock()
        self._version, self._next_look = 0, 0.0

    def version(self) -> int:
        """Returns a number that is the same as long as the files are; it is up to about a second old."""
        with self._lock:
            start = time.monotonic()
            if start >= self._next_look:
                self._version = fingerprint(self._directories)
                took = time.monotonic() - start
                self._next_look = start + max(_SECONDS, took / _SHARE)
            return self._version


def fingerprint(directories: Sequence[Path]) -> int:
    """Returns a hash, below 2^48, of the names, sizes and times of the JSON files; checkpoints are left out.

    Args:
      directories: of runs or sweeps, or single files.

    Example:
      >>> import tempfile
      >>> directory = Path(tempfile.mkdtemp())
      >>> before = fingerprint([directory])
      >>> _ = (directory / "metrics.jsonl").write_text("")
      >>> fingerprint([directory]) == before
      False
    """
    digest = hashlib.sha256()
    for directory in directories:
        digest.update(repr((os.fspath(directory), directory.exists())).encode())
        for path in sorted(_files(directory)):
            try:
                stat = os.stat(path)
            except OSError:
                continue  # it has just been replaced or removed
            digest.update(repr((path, stat.st_size, stat.st_mtime_ns)).encode())
    # JavaScript's numbers are exact to 2^53.
    return int.from_bytes(digest.digest()[:6], "big")


def _files(directory: Path) -> Iterator[str]:
    if directory.is_file():
        yield os.fspath(directory)
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        yield from (os.path.join(folder, name) for name in names if name.endswith(_SUFFIXES))
