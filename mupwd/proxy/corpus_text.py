"""Text files for a corpus: finding them, reading them, holding whole files out for validation."""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from mupwd.files import read_file
from mupwd.proxy.corpus_errors import CorpusError

_TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})


@dataclass(frozen=True)
class TextFile:
    """One file of text: a name that is the same on every machine, and its UTF-8 bytes with "\\n" newlines."""

    name: str
    text: bytes


def read_standard_library() -> list[TextFile]:
    """Returns the source of the running Python's standard library without its test folders, by name.

    Only what `sys.stdlib_module_names` lists is read, so that what an installation adds (site-packages,
    build configuration, a distribution's hooks) does not change the corpus.

    Returns:
      About 700 files, 12 MB for Python 3.11.

    Raises:
      CorpusError: this Python comes without its source.

    Example:
      >>> files = read_standard_library()
      >>> any(file.name == "argparse.py" for file in files)
      True
    """
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for module in sorted(sys.stdlib_module_names - _TEST_FOLDERS):
        if (root / f"{module}.py").is_file():
            found.append(root / f"{module}.py")
        elif (root / module).is_dir():
            found += [path for path in _walk(root / module) if path.suffix == ".py"]
    named = ((path.relative_to(root), path) for path in found)
    files = [
        TextFile(name.as_posix(), _read_text(path))
        for name, path in named
        if not _TEST_FOLDERS.intersection(name.parts)
    ]
    if not files:
        raise CorpusError(
            f"corpus 'stdlib': no Python source under {root}; this Python was installed without it, so name "
            "a folder of text instead"
        )
    return sorted(files, key=lambda file: file.name)


def read_text_files(paths: Sequence[Path], pattern: str = "*") -> list[TextFile]:
    """Returns the text files at the given paths, sorted by name.

    A file that is named must be UTF-8 text. From a folder, hidden files are left out, and files that are not
    UTF-8 text are skipped with a notice.

    Args:
      paths: files, and folders to search through.
      pattern: shell pattern that the files of a folder must match, on the name or on the path inside the
        folder.

    Returns:
      The files, named relative to the folder they were found in.

    Raises:
      CorpusError: a path is missing or can't be read, a named file is not UTF-8, or nothing was found.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> _ = (folder / "a.txt").write_text("hello")
      >>> read_text_files([folder], "*.txt")
      [TextFile(name='a.txt', text=b'hello')]
    """
    files: list[TextFile] = []
    skipped: list[str] = []
    for path in paths:
        if path.is_dir():
            for found in _walk(path):
                name = found.relative_to(path).as_posix()
                if not (fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(found.name, pattern)):
                    continue
                try:
                    files.append(TextFile(name, _read_text(found)))
                except NotTextError as error:
                    skipped.append(str(error))
        elif path.exists():
            files.append(TextFile(path.name, _read_text(path)))
        else:
            raise CorpusError(f"corpus: there is no file or folder {str(path)!r} (looked in {Path.cwd()})")
    if skipped:
        shown = "; ".join(skipped[:3]) + ("; ..." if len(skipped) > 3 else "")
        logging.warning("corpus: skipped %d files that are not UTF-8 text: %s", len(skipped), shown)
    if not files:
        where = ", ".join(repr(str(path)) for path in paths)
        raise CorpusError(
            f"corpus: no text file under {where} matches the pattern {pattern!r} "
            f"({len(skipped)} were skipped because they are not UTF-8 text); name another folder or pattern"
        )
    return sorted(files, key=lambda file: file.name)


def split_files(files: Sequence[TextFile], fraction: float) -> tuple[list[TextFile], list[TextFile]]:
    """Holds out whole files: those whose name's SHA-256, read as a number in [0, 1), is below the fraction.

    A file's side depends on its name alone, so a corpus that grows keeps its held-out files held out. Where
    that would leave a side empty, the file with the lowest (highest) hash goes to validation (training).

    Args:
      files: at least two.
      fraction: of the files, in (0, 1).

    Returns:
      The training files and the validation files, each in the order given.

    Example:
      >>> names = [TextFile(f"{n}.txt", b"") for n in range(20)]
      >>> [len(side) for side in split_files(names, 0.2)]
      [17, 3]
    """
    digests = [hashlib.sha256(file.name.encode()).digest() for file in files]
    places = [int.from_bytes(digest[:8], "big") / 2**64 for digest in digests]
    held_out = {index for index, place in enumerate(places) if place < fraction}
    order = sorted(range(len(files)), key=places.__getitem__)
    held_out.add(order[0])
    held_out.discard(order[-1])
    train = [file for index, file in enumerate(files) if index not in held_out]
    return train, [file for index, file in enumerate(files) if index in held_out]


def hash_files(files: Iterable[TextFile]) -> str:
    """Returns the SHA-256 of names and contents, in hexadecimal."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{len(file.name.encode())} {file.name} {len(file.text)} ".encode())
        digest.update(file.text)
    return digest.hexdigest()


class NotTextError(CorpusError):
    """A file that is not UTF-8 text."""


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise CorpusError(f"corpus: can't list the folder {error.filename!r}: {error.strerror}")

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(root) / name


def _read_text(path: Path) -> bytes:
    try:
        data = read_file(path)
    except OSError as error:
        message = f"corpus: can't read {str(path)!r}: {error.strerror}"
        if error.errno == errno.EINVAL:  # a pipe or a device
            raise NotTextError(message) from error
        raise CorpusError(message) from error
    if b"\0" in data:
        raise NotTextError(
            f"corpus: {str(path)!r} is binary (a zero byte at offset {data.index(0)}), not text; leave it out, or give "
            "it the ending .bin if it holds tokens"
        )
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotTextError(
            f"corpus: {str(path)!r} is not UTF-8 (byte {data[error.start]:#04x} at offset {error.start}); "
            "convert it, for example with `iconv -t utf-8`"
        ) from error
    return data.replace(b"\r\n", b"\n")
