"""Byte-level BPE, trained on the corpus itself and cached."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mupwd.proxy.corpus_errors import CorpusError, missing_extra
from mupwd.proxy.corpus_text import TextFile, hash_files
from mupwd.proxy.tokens_cache import cached_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The 256 bytes and the token that closes a document.
SMALLEST_VOCABULARY = 257
_END_OF_TEXT = "<|endoftext|>"
_END_OF_TEXT_ID = 0


def train_bpe(files: Sequence[TextFile], vocab_size: int, cache_directory: Path) -> Tokenizer:
    """Returns a byte-level BPE of exactly `vocab_size` tokens, trained on the files or from the cache.

    Args:
      files: training text only, so that what is held out stays unseen.
      vocab_size: 257 to 65536, so that tokens fit uint16.
      cache_directory: where trained tokenizers are kept, by the hash of the text and the vocabulary size.

    Raises:
      CorpusError: `tokenizers` isn't installed, the vocabulary size is out of range or larger than the text
        gives, or the cache is damaged.
    """
    tokenizers = _import_tokenizers()
    if not SMALLEST_VOCABULARY <= vocab_size <= 2**16:
        raise CorpusError(
            f"corpus: vocab_size {vocab_size} is out of range for tokenizer='bpe'; use {SMALLEST_VOCABULARY} "
            f"(256 bytes and the end of text) to {2**16}"
        )

    def build(folder: Path) -> None:
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[_END_OF_TEXT],
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator((file.text.decode() for file in files), trainer)
        found = tokenizer.get_vocab_size()
        if found != vocab_size:
            raise CorpusError(
                f"corpus: the training text gives a BPE vocabulary of only {found}, but vocab_size is "
                f"{vocab_size}; pass a smaller vocab_size or more text"
            )
        tokenizer.save(str(folder / "tokenizer.json"))

    # The library's version is part of the key: its merges are only promised to repeat within one.
    name = f"bpe-{vocab_size}-{_key(hash_files(files), tokenizers.__version__)}"
    folder = cached_folder(cache_directory, name, build)
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def encode_bpe(tokenizer: Tokenizer, files: Sequence[TextFile]) -> np.ndarray:
    """Returns the tokens of all files in a row, uint16, each file closed by the end-of-text token.

    Example:
      >>> import tempfile
      >>> files = [TextFile("a.txt", b"to be or not to be"), TextFile("b.txt", b"to be")]
      >>> tokenizer = train_bpe(files, 259, Path(tempfile.mkdtemp()))
      >>> encode_bpe(tokenizer, files).dtype
      dtype('uint16')
    """
    pieces = []
    for file in files:
        ids = tokenizer.encode(file.text.decode(), add_special_tokens=False).ids
        pieces.append(np.array([*ids, _END_OF_TEXT_ID], np.uint16))
    return np.concatenate(pieces)


def tokenize_bpe(
    train: Sequence[TextFile], validation: Sequence[TextFile], vocab_size: int, cache_directory: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the training and validation tokens, uint16, under a BPE trained on the training files.

    Args:
      train: files the tokenizer is trained on.
      validation: files held out.
      vocab_size: 257 to 65536.
      cache_directory: where the tokenizer and the tokens are kept.

    Raises:
      CorpusError: as `train_bpe`.
    """
    tokenizer = train_bpe(train, vocab_size, cache_directory)

    def build(folder: Path) -> None:
        np.save(folder / "train.npy", encode_bpe(tokenizer, train))
        np.save(folder / "validation.npy", encode_bpe(tokenizer, validation))

    name = f"tokens-{vocab_size}-{_key(hash_files(train), hash_files(validation), tokenizer.to_str())}"
    folder = cached_folder(cache_directory, name, build)
    return np.load(folder / "train.npy"), np.load(folder / "validation.npy")


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _import_tokenizers():
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise missing_extra("tokenizers", "corpus: tokenizer='bpe'") from error
    return tokenizers
