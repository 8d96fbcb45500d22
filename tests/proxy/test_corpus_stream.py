"""Streams through `datasets` and grain, from a local folder in one of their formats."""

import json
import sys

import numpy as np
import pytest

from mupwd.proxy.corpus import corpus
from mupwd.proxy.corpus_errors import CorpusError

TEXTS = [f"document {number} says hello to number {number * number}" for number in range(200)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("datasets")
    pytest.importorskip("grain")
    path = tmp_path_factory.mktemp("dataset")
    with (path / "train.jsonl").open("w") as file:
        for number, text in enumerate(TEXTS):
            file.write(json.dumps({"text": text, "title": f"title {number}", "number": number}) + "\n")
    return path


@pytest.fixture(scope="module")
def stream(folder):
    return corpus(f"hf:{folder}", validation_fraction=0.2)


def test_all_documents_are_on_one_side(stream):
    trained = [document.text.decode() for document in stream.documents]
    held_out = stream.validation.tobytes().decode().split("\0")[:-1]
    assert sorted(trained + held_out) == sorted(TEXTS)
    assert 20 < len(held_out) < 60


def test_batches_are_pure_functions_of_seed_and_step(stream, folder):
    batches = [stream.batch(0, step, 4, 32) for step in range(5)]
    assert batches[0].shape == (4, 33)
    assert batches[0].dtype == np.int32
    assert len({batch.tobytes() for batch in batches}) == 5
    np.testing.assert_array_equal(stream.batch(0, 1, 4, 32), batches[1])  # back
    np.testing.assert_array_equal(stream.batch(0, 4, 4, 32), batches[4])  # ahead
    fresh = corpus(f"hf:{folder}", validation_fraction=0.2)
    np.testing.assert_array_equal(fresh.batch(0, 3, 4, 32), batches[3])
    assert (fresh.batch(1, 0, 4, 32) != batches[0]).any()
    assert fresh.sha256 == stream.sha256


def test_rows_hold_the_training_text(stream):
    text = b"".join(document.text + b"\0" for document in stream.documents)
    for row in stream.batch(2, 0, 8, 32):
        assert row.astype(np.uint8).tobytes() in text + text


def test_stream_repeats_when_it_ends(stream):
    tokens = sum(len(document.text) + 1 for document in stream.documents)
    steps = 2 * tokens // (8 * 33) + 2
    assert stream.batch(0, steps, 8, 32).shape == (8, 33)


def test_validation_is_in_memory(stream):
    batch = stream.batch(0, 3, 2, 16, split="validation")
    assert batch[0].astype(np.uint8).tobytes() in stream.validation.tobytes()
    with pytest.raises(CorpusError, match=r"the validation split has .* tokens"):
        stream.batch(0, 0, 1000, 100, split="validation")


def test_bpe(folder, tmp_path):
    pytest.importorskip("tokenizers")
    spec = f"hf:{folder}:default:train#title"
    found = corpus(spec, validation_fraction=0.2, tokenizer="bpe", vocab_size=260, cache_directory=tmp_path)
    batch = found.batch(0, 0, 4, 32)
    assert found.vocab_size == 260
    assert 256 < batch.max() < 260
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf:", r"can't read 'hf:'; expected hf:dataset\[:config\]\[:split\]\[#column\]"),
        ("hf:a:b:c:d", "can't read 'hf:a:b:c:d'"),
        ("hf:{folder}#", "can't read"),
        ("hf:{folder}/nothing", "can't open .*Couldn't find any data file"),
        ("hf:{folder}:other", "config 'other'.*Available: .'default'"),
        ("hf:{folder}::test", "Bad split: test. Available splits: .'train'"),
        ("hf:{folder}#number", r"no column of text named 'number'; its columns are text \(str\), title"),
        ("hf:{folder}#body", "no column of text named 'body'.*Name one with '#'"),
    ],
)
def test_bad_sources(folder, spec, message):
    with pytest.raises(CorpusError, match=message):
        corpus(spec.format(folder=folder))


def test_empty_splits(tmp_path):
    pytest.importorskip("datasets")
    (tmp_path / "train.jsonl").write_text('{"text": "only one"}\n')
    with pytest.raises(CorpusError, match="the validation split is empty"):
        corpus(f"hf:{tmp_path}", validation_fraction=0.001)
    with pytest.raises(CorpusError, match="the training split is empty"):
        corpus(f"hf:{tmp_path}", validation_fraction=0.999)


def test_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match=r"needs the package 'datasets'; .* pip install 'mupwd\[data\]'"):
        corpus("hf:anything")
