"""A folder that is computed once and then read: written atomically, checked at every read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from mupwd.files import read_json
from mupwd.proxy.corpus_errors import CorpusError

_MANIFEST = "manifest.json"


def default_cache_directory() -> Path:
    """Returns `$XDG_CACHE_HOME/mupwd`, or `~/.cache/mupwd`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mupwd"


def cached_folder(cache_directory: Path, name: str, build: Callable[[Path], None]) -> Path:
    """Returns the folder `cache_directory / name`, calling `build` to fill it where it doesn't exist yet.

    The folder appears whole or not at all: it is filled under a temporary name and renamed. Of several
    processes that build at once, the first rename wins. A manifest holds the SHA-256 of each file.

    Args:
      cache_directory: where cached folders live; created if needed.
      name: of the folder; must determine its contents.
      build: fills the empty folder that it is given.

    Returns:
      The folder, its files checked against the manifest.

    Raises:
      CorpusError: the cache can't be written, or what is cached is damaged.

    Example:
      >>> cache = Path(tempfile.mkdtemp())
      >>> folder = cached_folder(cache, "greeting", lambda new: (new / "a").write_text("hi") and None)
      >>> (folder / "a").read_text()
      'hi'
    """
    folder = cache_directory / name
    if not folder.exists():
        try:
            _build(cache_directory, folder, build)
        except OSError as error:
            raise CorpusError(
                f"corpus: can't write the cache {str(folder)!r}: {error.strerror or error}; free the disk or "
                "pass another cache_directory"
            ) from error
    _check(folder)
    return folder


def _build(cache_directory: Path, folder: Path, build: Callable[[Path], None]) -> None:
    cache_directory.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=cache_directory))
    try:
        build(temporary)
        manifest = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
        (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(folder: Path) -> None:
    try:
        manifest = read_json(folder / _MANIFEST)
        damaged = [name for name, digest in manifest.items() if _sha256(folder / name) != digest]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        damaged = [f"{_MANIFEST}: {error}"]
    if damaged:
        raise CorpusError(
            f"corpus: the cache {str(folder)!r} is damaged ({', '.join(damaged)}); delete that folder and it "
            "will be made again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
