"""Token files in the styles of nanoGPT and llm.c."""

import numpy as np
import pytest

from mupwd.proxy.corpus import corpus
from mupwd.proxy.corpus_errors import CorpusError
from mupwd.proxy.tokens_binary import map_token_file

TOKENS = np.random.default_rng(0).integers(0, 500, 1000).astype(np.uint16)


def write_llm_c(path, tokens, magic=20240520, version=1, count=None):
    header = np.zeros(256, "<i4")
    header[:3] = magic, version, tokens.size if count is None else count
    path.write_bytes(header.tobytes() + tokens.tobytes())
    return path


def write_nano_gpt(path, tokens=TOKENS):
    tokens.astype(np.uint16).tofile(path)
    return path


def test_nano_gpt(tmp_path):
    found = corpus(write_nano_gpt(tmp_path / "train.bin"), vocab_size=500, validation_fraction=0.1)
    np.testing.assert_array_equal(found.train, TOKENS[:900])
    np.testing.assert_array_equal(found.validation, TOKENS[900:])
    assert isinstance(found.train, np.memmap)
    assert found.vocab_size == 500
    assert found.batch(0, 0, 4, 16).shape == (4, 17)


def test_llm_c(tmp_path):
    found = corpus(write_llm_c(tmp_path / "x.bin", TOKENS), vocab_size=500, validation_fraction=0.1)
    np.testing.assert_array_equal(found.train, TOKENS[:900])
    wide = TOKENS.astype(np.uint32) + 100_000
    found = corpus(write_llm_c(tmp_path / "y.bin", wide, 20240801, 7), vocab_size=128_256)
    np.testing.assert_array_equal(found.validation, wide[950:])


def test_styles_of_one_text_have_one_hash(tmp_path):
    plain = corpus(write_nano_gpt(tmp_path / "x.bin"), vocab_size=500)
    assert plain.sha256 == corpus(write_llm_c(tmp_path / "y.bin", TOKENS), vocab_size=500).sha256


def test_training_and_validation_files(tmp_path):
    paths = write_nano_gpt(tmp_path / "train.bin"), write_nano_gpt(tmp_path / "val.bin", TOKENS[:10])
    (tmp_path / "prepare.py").write_text("print()\n")
    for spec in (tmp_path, paths, str(tmp_path / "*.bin")):
        found = corpus(spec, vocab_size=500)
        np.testing.assert_array_equal(found.train, TOKENS)
        np.testing.assert_array_equal(found.validation, TOKENS[:10])


def test_other_binaries_do_not_make_a_folder_of_text_into_tokens(tmp_path):
    write_nano_gpt(tmp_path / "weights.bin", np.zeros(10))
    for name in "ab":
        (tmp_path / name).write_text("text\n")
    assert corpus(tmp_path).train.tobytes() == b"text\n\0"


def test_vocabulary_is_asked_for(tmp_path):
    path = write_nano_gpt(tmp_path / "x.bin")
    largest = TOKENS.max()
    with pytest.raises(CorpusError, match=f"pass vocab_size .its largest token is {largest}, so at least"):
        corpus(path)


def test_token_outside_the_vocabulary(tmp_path):
    path = write_nano_gpt(tmp_path / "x.bin", np.array([1, 2, 300, 4] * 10))
    with pytest.raises(CorpusError, match="holds token 300 at position 2, outside the vocabulary of 256"):
        corpus(path, vocab_size=256)


def test_damaged_files(tmp_path):
    path = tmp_path / "x.bin"
    path.touch()
    with pytest.raises(CorpusError, match="is empty"):
        corpus(path, vocab_size=500)
    path.write_bytes(b"abc")
    with pytest.raises(CorpusError, match="has 3 bytes, an odd number, so it is not a file of uint16 tokens"):
        corpus(path, vocab_size=500)
    write_llm_c(path, TOKENS, version=3)
    with pytest.raises(CorpusError, match=r"llm.c \(magic 20240520\) of version 3; only version 1 is known"):
        corpus(path, vocab_size=500)
    write_llm_c(path, TOKENS, count=2000)
    with pytest.raises(CorpusError, match="says 2000 tokens, 5024 bytes in all, but the file has 3024"):
        corpus(path, vocab_size=500)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorpusError, match="cut short inside its header of 1024 bytes"):
        corpus(path, vocab_size=500)
    with pytest.raises(CorpusError, match=r"can't read '.*gone.bin': No such file or directory"):
        corpus(tmp_path / "gone.bin", vocab_size=500)
    write_nano_gpt(path, TOKENS[:1])
    with pytest.raises(CorpusError, match="1 tokens are too few to hold any out"):
        corpus(path, vocab_size=500)


def test_combinations_that_mean_nothing(tmp_path):
    train, other = write_nano_gpt(tmp_path / "train_0.bin"), write_nano_gpt(tmp_path / "train_1.bin")
    (tmp_path / "text").write_text("text\n")
    with pytest.raises(CorpusError, match=r"expected one .bin file of training tokens .* found train_0.bin"):
        corpus([train, other], vocab_size=500)
    with pytest.raises(CorpusError, match="can't be combined in one corpus"):
        corpus([train, tmp_path / "text"], vocab_size=500)
    with pytest.raises(CorpusError, match="is tokens already; leave tokenizer='bpe' out"):
        corpus(train, tokenizer="bpe", vocab_size=500)


def test_a_folder_is_no_file_of_tokens(tmp_path):
    with pytest.raises(
        CorpusError, match="is no file of tokens, but a folder, a pipe or a device; name a file"
    ):
        map_token_file(tmp_path)
