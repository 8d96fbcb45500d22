"""A small real corpus for the tests of the proxy."""

import os
from pathlib import Path

import pytest

from mupwd.proxy.corpus import Corpus, corpus


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 200 kB of Python source in twelve files."""
    folder = tmp_path_factory.mktemp("text")
    library = Path(os.__file__).parent
    for name in (
        "ast",
        "bdb",
        "cmd",
        "code",
        "csv",
        "dis",
        "enum",
        "glob",
        "gzip",
        "heapq",
        "queue",
        "shlex",
    ):
        (folder / f"{name}.py").write_bytes((library / f"{name}.py").read_bytes())
    return folder


@pytest.fixture(scope="session")
def text_corpus(text_folder: Path) -> Corpus:
    read = corpus(str(text_folder), validation_fraction=0.2)
    assert isinstance(read, Corpus)
    return read
