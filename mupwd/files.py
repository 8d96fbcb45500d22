"""Files that are either whole or not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(file: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file such that a reader, or a kill at any moment, sees the old content or all of the new.

    Args:
      file: where to; its folder must exist.
      content: text (as UTF-8) or bytes.

    Raises:
      OSError: the folder is missing, read-only or full; whatever was there before is still there.
    """
    path = Path(file)
    data = content.encode() if isinstance(content, str) else content
    # In the same folder, since a rename is atomic only within a file system.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files private; give this one the mode that open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
