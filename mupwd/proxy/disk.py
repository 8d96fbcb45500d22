"""A full disk, said in plain words."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from mupwd.files import write_atomically

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def explain_full_disk(path: Path, what: str) -> Iterator[None]:
    """Turns any error that a full disk caused inside the block into an OSError that says what to do.

    Libraries that write in C++ report it as text only, so the error's causes are searched for the system's
    own words too.

    Args:
      path: the file or directory being written.
      what: what is being written, such as "a checkpoint".

    Raises:
      OSError: with errno ENOSPC or EDQUOT, naming the path.
    """
    try:
        yield
    except Exception as error:
        code = _full_disk(error)
        if code is None:
            raise
        raise OSError(
            code,
            f"the disk is full: could not write {what}; what was complete before is untouched. Free some "
            "space and start the same command again: it goes on from the last checkpoint",
            str(path),
        ) from error


def _full_disk(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return error.errno
        for code in _FULL:
            if os.strerror(code) in str(error):
                return code
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def written_aside(file: Path) -> Iterator[Path]:
    """Gives a name of the same kind to write to, and renames it when all is written: for libraries that write files.

    Args:
      file: where to.

    Raises:
      OSError: it could not be written; a full disk is said so.
    """
    aside = file.with_name(f".{uuid.uuid4().hex}{file.suffix}")
    with explain_full_disk(file, file.name):
        try:
            yield aside
            aside.replace(file)
        finally:
            aside.unlink(missing_ok=True)


def write_atomic(path: Path, text: str, *, new: bool = False) -> None:
    """Writes a text file so that a reader, or a kill at any moment, finds the old version or the new one.

    Args:
      path: the file; its directory exists.
      text: the new contents.
      new: it must not exist yet.

    Raises:
      FileExistsError: it exists, and was to be new.
      OSError: it could not be written; a full disk is said so.
    """
    with explain_full_disk(path, path.name):
        write_atomically(path, text, new=new)
