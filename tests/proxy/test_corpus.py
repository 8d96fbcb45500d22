"""The in-memory corpora: what is read, what is held out, what is refused and with which words."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from mupwd.proxy.corpus import Corpus, corpus
from mupwd.proxy.corpus_errors import CorpusError
from mupwd.proxy.corpus_text import read_standard_library


@pytest.fixture(scope="module")
def standard_library():
    return corpus()


@pytest.fixture
def folder(tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text(f"file {number} says something\n")
    return tmp_path


def test_standard_library_is_bytes_of_about_ten_megabytes(standard_library):
    total = standard_library.train.size + standard_library.validation.size
    assert standard_library.vocab_size == 256
    assert 8e6 < total < 20e6
    assert 0.02 < standard_library.validation.size / total < 0.25
    assert standard_library.train.dtype == np.uint8


def test_standard_library_holds_whole_files_out(standard_library):
    held_out = standard_library.validation.tobytes().split(b"\0")[:-1]
    trained = set(standard_library.train.tobytes().split(b"\0")[:-1])
    assert len(held_out) > 10
    assert not trained.intersection(held_out)
    argparse = Path(__import__("argparse").__file__).read_bytes()
    assert argparse in trained or argparse in held_out
    assert not any(b"class TestCase" in file and b"import idlelib.idle_test" in file for file in trained)


def test_standard_library_is_the_same_in_another_process(standard_library):
    program = "from mupwd.proxy.corpus import corpus; print(corpus().sha256)"
    found = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True, cwd="/"
    )
    assert found.stdout.strip() == standard_library.sha256


def test_split_depends_on_names_alone(folder):
    before = corpus(folder, validation_fraction=0.25).validation.tobytes().split(b"\0")
    (folder / "99.txt").write_text("a new file\n")
    after = corpus(folder, validation_fraction=0.25).validation.tobytes().split(b"\0")
    assert 3 < len(before) < 20
    assert set(before) <= set(after)


def test_two_files_give_one_to_each_side(tmp_path):
    (tmp_path / "a.txt").write_text("first\n")
    (tmp_path / "b.txt").write_text("second\n")
    for fraction in (0.001, 0.999):
        found = corpus(tmp_path, validation_fraction=fraction)
        assert {found.train.tobytes(), found.validation.tobytes()} == {b"first\n\0", b"second\n\0"}


def test_one_file_holds_its_end_out_at_a_line_break(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"line {i}\n" for i in range(100)))
    found = corpus(tmp_path / "a.txt", validation_fraction=0.1)
    assert found.train.tobytes().endswith(b"\n\0")
    assert found.validation.tobytes().startswith(b"line 9")
    assert found.train.size + found.validation.size == (tmp_path / "a.txt").stat().st_size + 2


def test_patterns_and_sequences_of_paths(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "x.md").write_text("markdown\n")
    (folder / ".hidden").write_text("hidden\n")
    everything = corpus(folder)
    assert b"markdown" in everything.train.tobytes() + everything.validation.tobytes()
    assert b"hidden" not in everything.train.tobytes() + everything.validation.tobytes()
    by_pattern = corpus(folder, pattern="*.txt")
    by_glob = corpus(str(folder / "*.txt"))
    by_list = corpus(sorted(folder.glob("*.txt")))
    assert by_pattern.sha256 == by_glob.sha256 == by_list.sha256 != everything.sha256
    (folder / "deep" / "y.md").write_text("markdown\n")
    assert corpus(folder, pattern="deep/*").train.tobytes() == b"markdown\n\0"


def test_line_ends_of_windows_are_normalised(tmp_path):
    for name, ending in (("unix", "\n"), ("windows", "\r\n")):
        (tmp_path / name).mkdir()
        for file in "ab":
            (tmp_path / name / file).write_bytes(f"one{ending}two{ending}".encode())
    assert corpus(tmp_path / "unix").sha256 == corpus(tmp_path / "windows").sha256


def test_binaries_in_a_folder_are_skipped_with_a_notice(folder, caplog):
    (folder / "picture.bin").write_bytes(b"\x89PNG\0\0")
    (folder / "latin.txt").write_bytes("é".encode("latin-1"))
    with_binaries = corpus(folder)
    assert "skipped 2 files that are not UTF-8 text" in caplog.text
    assert "picture.bin" in caplog.text
    (folder / "picture.bin").unlink()
    (folder / "latin.txt").unlink()
    assert with_binaries.sha256 == corpus(folder).sha256


def test_hash_tells_corpora_apart():
    tokens = np.arange(100, dtype=np.uint8)
    base = Corpus("x", tokens[:80], tokens[80:], 256)
    assert base.sha256 == Corpus("y", tokens[:80].astype(np.uint16), tokens[80:], 256).sha256
    others = [
        Corpus("x", tokens[:79], tokens[79:], 256),
        Corpus("x", tokens[:80], tokens[80:], 257),
        Corpus("x", tokens[::-1][:80], tokens[80:], 256),
    ]
    assert len({base.sha256, *(other.sha256 for other in others)}) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation_fraction": 0.0}, "validation_fraction must lie between 0 and 1, not 0.0"),
        ({"validation_fraction": float("nan")}, "validation_fraction must lie between 0 and 1, not nan"),
        ({"tokenizer": "words"}, "tokenizer must be 'bytes' or 'bpe', not 'words'"),
        ({"vocab_size": 512}, "vocab_size is 512, but tokenizer='bytes' has 256"),
        ({"tokenizer": "bpe"}, "tokenizer='bpe' needs vocab_size"),
        ({"spec": "nowhere/at/all"}, "there is no file or folder 'nowhere/at/all'"),
        ({"spec": "nowhere/*.txt"}, "no file matches 'nowhere/\\*.txt'"),
        ({"spec": ["stdlib", "nowhere"]}, "there is no file or folder 'stdlib'"),
        ({"spec": []}, "no source was named"),
        ({"spec": ["hf:a", "b"]}, "'hf:' can't be combined with other sources"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(CorpusError, match=message):
        corpus(**arguments)


def test_nothing_matches(folder):
    with pytest.raises(CorpusError, match=r"no text file under .* matches the pattern '\*.rs'"):
        corpus(folder, pattern="*.rs")


def test_empty(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(CorpusError, match="is empty: there is no text in its files"):
        corpus(tmp_path)


def test_one_file_without_a_line_break(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 1000)
    with pytest.raises(CorpusError, match="no line break in its first 95%"):
        corpus(tmp_path / "a.txt")


def test_a_named_file_must_be_text(tmp_path):
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"is not UTF-8 \(byte 0xe9 at offset 3\); convert it"):
        corpus(tmp_path / "latin.txt")
    (tmp_path / "zero").write_bytes(b"ab\0")
    with pytest.raises(CorpusError, match=r"is binary \(a zero byte at offset 2\)"):
        corpus(tmp_path / "zero")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that even root can't read")
def test_unreadable_file():
    with pytest.raises(CorpusError, match="can't read '/proc/self/mem': Input/output error"):
        corpus("/proc/self/mem")


def test_dangling_link(folder):
    (folder / "link.txt").symlink_to("gone")
    with pytest.raises(CorpusError, match=r"can't read '.*link.txt': No such file or directory"):
        corpus(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 8, 100), "the train split has 80 tokens, but a batch of 8 sequences of 100"),
        (
            (0, 0, 1, 20, "validation"),
            "the validation split has 20 tokens.*takes 21.*larger validation_fraction",
        ),
        ((0, 0, 0, 4), "batch_size must be at least 1, not 0"),
        ((0, 0, 4, 0), "sequence_length must be at least 1, not 0"),
        ((-1, 0, 4, 4), r"seed must lie in \[0, 2\*\*32\), not -1"),
        ((0, 2**32, 4, 4), r"step must lie in \[0, 2\*\*32\), not 4294967296"),
        ((0, 0, 4, 4, "test"), "split must be 'train' or 'validation', not 'test'"),
    ],
)
def test_bad_batches(arguments, message):
    tokens = np.arange(100, dtype=np.uint8)
    with pytest.raises(CorpusError, match=message):
        Corpus("toy", tokens[:80], tokens[80:], 256).batch(*arguments)


def test_batches_come_from_their_split():
    found = Corpus("toy", np.zeros(100, np.uint8), np.ones(100, np.uint8), 256)
    assert found.batch(0, 0, 4, 8).sum() == 0
    assert found.batch(0, 0, 4, 8, split="validation").sum() == 4 * 9


def test_a_python_without_its_source(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(CorpusError, match=r"no Python source under .*; this Python was installed without it"):
        read_standard_library()
