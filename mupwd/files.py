"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def write_atomically(file: str | os.PathLike[str], content: str | bytes, *, new: bool = False) -> None:
    """Writes a file such that a reader, or a kill at any moment, sees the old content or all of the new.

    A device or a pipe, such as /dev/null, is written to and stays what it is.

    Args:
      file: where to; its folder must exist.
      content: text (as UTF-8) or bytes.
      new: the file must not exist yet; of several processes that write it at the same time, one succeeds.

    Raises:
      FileExistsError: it exists, and was to be new.
      OSError: the folder is missing, read-only or full; whatever was there before is still there.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "plan.json")
      ...     write_atomically(file, "{}")
      ...     file.read_text()
      '{}'
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if not new and _is_no_file(file):
            with open(file, "wb") as stream:
                stream.write(data)
        else:
            _write_aside(Path(os.path.realpath(file)), data, new)  # a link stays a link
    except OSError as error:
        if error.errno is None:
            raise
        words = os.strerror(error.errno)
        if error.errno == errno.ENOENT:
            words = f"there is no folder {os.path.dirname(os.path.abspath(file))!r} to write it to; make that first"
        raise OSError(error.errno, words, os.fspath(file)) from error  # not the temporary's name


def _is_no_file(file: str | os.PathLike[str]) -> bool:
    """Whether what is there is neither a file nor a folder: to be the name of a file it would have to be destroyed."""
    try:
        mode = os.stat(file).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(file))
    return not stat.S_ISREG(mode)


def _write_aside(path: Path, data: bytes, new: bool) -> None:
    # In the same folder, since a rename is atomic only within a file system.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if new:
            _link(temporary, path)
        else:
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def read_file(file: str | os.PathLike[str]) -> bytes:
    """Returns what a file holds. A pipe or a device, which may never end, is refused instead of waited for.

    Args:
      file: to read.

    Raises:
      OSError: it is not there, cannot be read, or is no file.

    Example:
      >>> read_file(os.devnull)
      Traceback (most recent call last):
      OSError: [Errno 22] neither a file nor a link to one, but a pipe or a device: '/dev/null'
    """
    # Not blocking: else a pipe that nobody writes to would be waited for as it is opened.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(file))
        if not stat.S_ISREG(mode):
            raise OSError(
                errno.EINVAL, "neither a file nor a link to one, but a pipe or a device", os.fspath(file)
            )
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(descriptor)


def read_json(file: str | os.PathLike[str]) -> Any:
    """Returns what a JSON file holds, if it holds what a whole file of ours can: no NaN, no key twice in an object.

    Args:
      file: to read.

    Raises:
      OSError: as `read_file`.
      ValueError: it is not JSON; the message says why, not which file.
    """
    try:
        text = read_file(file).decode("utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error}") from error
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"the number {text} is too large")
    return number


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def is_temporary(name: str) -> bool:
    """Whether a file's name is that of a half-written file, which a kill may leave behind."""
    return _TEMPORARY.fullmatch(name) is not None


def _link(temporary: Path, path: Path) -> None:
    """Gives a file its name, unless that is taken."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without links, such as a mounted bucket: nothing there is both exclusive and whole.
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path)) from None
        os.replace(temporary, path)
    else:
        os.unlink(temporary)
