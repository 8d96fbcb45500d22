"""Byte-level BPE trained on the corpus, and its cache."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mupwd.proxy.corpus import corpus
from mupwd.proxy.corpus_errors import CorpusError

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "text").mkdir()
    for number in range(10):
        (tmp_path / "text" / f"{number}.txt").write_text(f"a rose is a rose is a röse, {number} times\n" * 20)
    return tmp_path / "text"


def load(folder, tmp_path, vocab_size=280):
    return corpus(folder, tokenizer="bpe", vocab_size=vocab_size, cache_directory=tmp_path / "cache")


def entries(tmp_path, prefix):
    return sorted(path for path in (tmp_path / "cache").iterdir() if path.name.startswith(prefix))


def test_tokens_decode_to_the_text(folder, tmp_path):
    found = load(folder, tmp_path)
    (cached,) = entries(tmp_path, "bpe-280-")
    tokenizer = tokenizers.Tokenizer.from_file(str(cached / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == found.vocab_size == 280
    assert found.train.dtype == np.uint16
    as_bytes = corpus(folder)
    for split in ("train", "validation"):
        tokens = getattr(found, split)
        assert getattr(as_bytes, split).size / tokens.size > 1
        text = tokenizer.decode(tokens.tolist(), skip_special_tokens=False).replace("<|endoftext|>", "\0")
        assert text.encode() == getattr(as_bytes, split).tobytes()


def test_cache_is_used_and_gives_the_same(folder, tmp_path):
    first = load(folder, tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    again = load(folder, tmp_path)
    assert again.sha256 == first.sha256
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    assert len(stamps) == 2 + 2 + 3  # two folders: tokenizer and manifest; two splits and manifest


def test_cache_key_follows_text_and_vocabulary(folder, tmp_path):
    hashes = {load(folder, tmp_path).sha256, load(folder, tmp_path, 270).sha256}
    (folder / "10.txt").write_text("and another rose\n")
    hashes.add(load(folder, tmp_path).sha256)
    assert len(hashes) == 3
    assert len(entries(tmp_path, "tokens-")) == 3


@pytest.mark.parametrize("damage", ["tokens", "tokenizer", "missing", "manifest"])
def test_damaged_cache_is_refused_and_mends_when_deleted(folder, tmp_path, damage):
    first = load(folder, tmp_path)
    (tokens,), (trained,) = entries(tmp_path, "tokens-"), entries(tmp_path, "bpe-")
    if damage == "tokens":
        content = bytearray((tokens / "train.npy").read_bytes())
        content[-1] ^= 1
        (tokens / "train.npy").write_bytes(content)
    elif damage == "tokenizer":
        (trained / "tokenizer.json").write_text("{}")
    elif damage == "missing":
        (tokens / "validation.npy").unlink()
    else:
        (tokens / "manifest.json").write_text("not json")
    with pytest.raises(CorpusError, match=r"the cache '.*' is damaged \(.*\); delete that folder"):
        load(folder, tmp_path)
    for path in (trained if damage == "tokenizer" else tokens).iterdir():
        path.unlink()
    (trained if damage == "tokenizer" else tokens).rmdir()
    assert load(folder, tmp_path).sha256 == first.sha256


def test_processes_that_build_at_once_agree(folder, tmp_path):
    program = (
        "import sys; from mupwd.proxy.corpus import corpus; "
        "print(corpus(sys.argv[1], tokenizer='bpe', vocab_size=280, cache_directory=sys.argv[2]).sha256)"
    )
    command = [sys.executable, "-c", program, str(folder), str(tmp_path / "cache")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate()[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert set(outputs) == {load(folder, tmp_path).sha256}
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")]
    for path in (tmp_path / "cache").iterdir():
        assert json.loads((path / "manifest.json").read_text())


def test_text_too_small_for_the_vocabulary(folder, tmp_path):
    with pytest.raises(CorpusError, match=r"a BPE vocabulary of only \d+, but vocab_size is 4096"):
        load(folder, tmp_path, 4096)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("vocab_size", [256, 65537])
def test_vocabulary_out_of_range(folder, tmp_path, vocab_size):
    with pytest.raises(
        CorpusError, match=f"vocab_size {vocab_size} is out of range for tokenizer='bpe'; use 257"
    ):
        load(folder, tmp_path, vocab_size)


def test_cache_that_can_not_be_written(folder, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(CorpusError, match=r"can't write the cache .* pass another cache_directory"):
        load(folder, tmp_path)


def test_missing_library_names_the_extra(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(CorpusError, match=r"needs the package 'tokenizers'; .* pip install 'mupwd\[data\]'"):
        load(folder, tmp_path)
