"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path


def write_atomically(file: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file such that a reader, or a kill at any moment, sees the old content or all of the new.

    Args:
      file: where to; its folder must exist.
      content: text (as UTF-8) or bytes.

    Raises:
      OSError: the folder is missing, read-only or full; whatever was there before is still there.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "plan.json")
      ...     write_atomically(file, "{}")
      ...     file.read_text()
      '{}'
    """
    path = Path(os.path.realpath(file))  # a link stays a link
    data = content.encode() if isinstance(content, str) else content
    # In the same folder, since a rename is atomic only within a file system.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename, error.filename2 = os.fspath(file), None  # not the temporary's name
        raise
