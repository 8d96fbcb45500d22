"""The text that the proxy is trained on: where it comes from, its tokens, its held-out part, its batches."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mupwd.proxy.corpus_errors import CorpusError
from mupwd.proxy.corpus_sampling import sample_host
from mupwd.proxy.corpus_text import TextFile, read_standard_library, read_text_files, split_files
from mupwd.proxy.tokens_binary import check_tokens, map_token_file
from mupwd.proxy.tokens_bpe import tokenize_bpe
from mupwd.proxy.tokens_cache import default_cache_directory

if TYPE_CHECKING:
    from jaxtyping import Int

    from mupwd.proxy.corpus_stream import StreamedCorpus

_BYTES = 256
_HASH_CHUNK = 1 << 24


@dataclass(frozen=True, eq=False)
class Corpus:
    """Tokens in memory (or memory-mapped), split into training and validation.

    Args:
      source: what the corpus was made from, for messages and manifests.
      train: training tokens, one-dimensional, of an unsigned type.
      validation: held-out tokens.
      vocab_size: number of distinct tokens that a model must know.

    Example:
      >>> tokens = np.arange(100, dtype=np.uint8)
      >>> toy = Corpus("toy", tokens[:80], tokens[80:], vocab_size=256)
      >>> toy.batch(seed=0, step=0, batch_size=2, sequence_length=4).shape
      (2, 5)
    """

    source: str
    train: np.ndarray
    validation: np.ndarray
    vocab_size: int

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of vocabulary size and tokens of both splits; losses compare only where it is equal."""
        digest = hashlib.sha256(f"{self.vocab_size} {self.train.size} {self.validation.size} ".encode())
        # One type, so that the hash doesn't depend on how the tokens are stored.
        dtype = "<u2" if self.vocab_size <= 2**16 else "<u4"
        for tokens in (self.train, self.validation):
            for start in range(0, tokens.size, _HASH_CHUNK):
                digest.update(tokens[start : start + _HASH_CHUNK].astype(dtype).tobytes())
        return digest.hexdigest()

    def batch(
        self,
        seed: int,
        step: int,
        batch_size: int,
        sequence_length: int,
        split: Literal["train", "validation"] = "train",
    ) -> Int[np.ndarray, "B T+1"]:
        """Returns the batch of one step, a pure function of the arguments.

        Rows start at random places, drawn independently. `mupwd.proxy.corpus_sampling.sample_device` gives
        the same batch inside a jitted function, from tokens on the device.

        Args:
          seed: of the run, in [0, 2**32).
          step: of the run, in [0, 2**32).
          batch_size: rows B.
          sequence_length: T, tokens per row that are predicted.
          split: which tokens to draw from.

        Returns:
          An int32 array `[batch_size, sequence_length + 1]`; inputs are `[:, :-1]`, targets `[:, 1:]`.

        Raises:
          CorpusError: an argument is out of range, or the split has fewer tokens than one batch.
        """
        tokens = self.train if split == "train" else self.validation
        check_batch(self.source, split, tokens.size, seed, step, batch_size, sequence_length)
        return sample_host(tokens, seed, step, batch_size, sequence_length)


def corpus(
    spec: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "stdlib",
    *,
    tokenizer: Literal["bytes", "bpe"] = "bytes",
    vocab_size: int | None = None,
    pattern: str = "*",
    validation_fraction: float = 0.05,
    cache_directory: str | os.PathLike[str] | None = None,
) -> Corpus | StreamedCorpus:
    """Reads a corpus and splits it into training and validation tokens.

    Args:
      spec: one of

        - `"stdlib"`: the source of the running Python's standard library without its test folders;
        - text files or folders, by path or shell pattern, or a sequence of them;
        - a `.bin` file of tokens in the style of nanoGPT or llm.c, memory-mapped; or a training and a
          validation file, with "train" and "val" in their names, as a folder or a sequence;
        - `"hf:dataset[:config][:split][#column]"`: streamed by Hugging Face `datasets` (see
          `mupwd.proxy.corpus_stream`).
      tokenizer: `"bytes"` (vocabulary 256; a zero byte closes each file) or `"bpe"` (byte-level BPE of
        `vocab_size` tokens, trained on the training files and cached). Not for `.bin`.
      vocab_size: for `"bpe"` and for `.bin` files; 256 for bytes.
      pattern: shell pattern for the files of a folder.
      validation_fraction: share that is held out: of whole files, by the hash of their names; of a single
        text file or `.bin` file, the end.
      cache_directory: for tokenizers and their tokens; `~/.cache/mupwd` by default.

    Returns:
      A `Corpus`, or a `StreamedCorpus` for `hf:`.

    Raises:
      CorpusError: whatever is wrong with the source or the arguments, and what to do about it.

    Example:
      >>> standard_library = corpus()
      >>> standard_library.vocab_size
      256
    """
    if not 0 < validation_fraction < 1:
        raise CorpusError(f"corpus: validation_fraction must lie between 0 and 1, not {validation_fraction}")
    if tokenizer not in ("bytes", "bpe"):
        raise CorpusError(f"corpus: tokenizer must be 'bytes' or 'bpe', not {tokenizer!r}")
    cache = default_cache_directory() if cache_directory is None else Path(cache_directory)
    specs = [spec] if isinstance(spec, str | os.PathLike) or not isinstance(spec, Sequence) else list(spec)
    for part in specs:
        if not isinstance(part, str | os.PathLike) or not str(part):
            raise CorpusError(f"corpus: expected 'stdlib', a file, a folder or 'hf:...', got {part!r}")
    source = ",".join(str(part) for part in specs)
    if not specs:
        raise CorpusError("corpus: no source was named; pass 'stdlib', a file, a folder or 'hf:...'")

    if any(str(part).startswith("hf:") for part in specs):
        if len(specs) > 1:
            raise CorpusError(
                f"corpus: 'hf:' can't be combined with other sources, in {source!r}; name one dataset alone"
            )
        from mupwd.proxy.corpus_stream import open_stream

        return open_stream(source, check_tokenizer(tokenizer, vocab_size), validation_fraction, cache)

    if specs == ["stdlib"]:
        return _text_corpus(
            source, read_standard_library(), tokenizer, vocab_size, validation_fraction, cache
        )
    paths = _expand(specs)
    if binaries := _binary_files(paths):
        if tokenizer != "bytes":
            raise CorpusError(f"corpus: {source!r} is tokens already; leave tokenizer={tokenizer!r} out")
        return _binary_corpus(source, binaries, vocab_size, validation_fraction)
    files = read_text_files(paths, pattern)
    return _text_corpus(source, files, tokenizer, vocab_size, validation_fraction, cache)


def check_tokenizer(tokenizer: str, vocab_size: int | None) -> int:
    """Returns the vocabulary size that the two arguments mean; 256 means bytes."""
    if tokenizer == "bytes":
        if vocab_size not in (None, _BYTES):
            raise CorpusError(
                f"corpus: vocab_size is {vocab_size}, but tokenizer='bytes' has {_BYTES}; leave vocab_size "
                "out, or pass tokenizer='bpe'"
            )
        return _BYTES
    if vocab_size is None:
        raise CorpusError("corpus: tokenizer='bpe' needs vocab_size, for example 4096")
    return vocab_size


def check_batch(
    source: str, split: str, size: int, seed: int, step: int, batch_size: int, sequence_length: int
) -> None:
    """Refuses what can't be drawn from `size` tokens, with a message for the user."""
    if split not in ("train", "validation"):
        raise CorpusError(f"corpus: split must be 'train' or 'validation', not {split!r}")
    for name, value in (("batch_size", batch_size), ("sequence_length", sequence_length)):
        if value < 1:
            raise CorpusError(f"corpus: {name} must be at least 1, not {value}")
    for name, value in (("seed", seed), ("step", step)):
        if not 0 <= value < 2**32:
            raise CorpusError(f"corpus: {name} must lie in [0, 2**32), not {value}")
    needed = batch_size * (sequence_length + 1)
    if size < needed:
        larger = ", or a larger validation_fraction" if split == "validation" else ""
        raise CorpusError(
            f"corpus {source!r}: the {split} split has {size} tokens, but a batch of {batch_size} "
            f"sequences of {sequence_length} (and one target more) takes {needed}; use more text, a smaller "
            f"batch_size or sequence_length{larger}"
        )


def _text_corpus(
    source: str,
    files: list[TextFile],
    tokenizer: str,
    vocab_size: int | None,
    validation_fraction: float,
    cache: Path,
) -> Corpus:
    vocab_size = check_tokenizer(tokenizer, vocab_size)
    files = [file for file in files if file.text]
    if not files:
        raise CorpusError(
            f"corpus {source!r} is empty: there is no text in its files; name files that hold some"
        )
    if len(files) == 1:
        train, validation = _cut(files[0], source, validation_fraction)
    else:
        train, validation = split_files(files, validation_fraction)
    if tokenizer == "bpe":
        tokens = tokenize_bpe(train, validation, vocab_size, cache)
    else:
        tokens = encode_bytes(train), encode_bytes(validation)
    return Corpus(source, *tokens, vocab_size)


def encode_bytes(files: Sequence[TextFile]) -> np.ndarray:
    """Returns the bytes of all files in a row, uint8, each file closed by a zero byte."""
    return np.frombuffer(b"".join(file.text + b"\0" for file in files), np.uint8)


def _cut(file: TextFile, source: str, fraction: float) -> tuple[list[TextFile], list[TextFile]]:
    """Splits one file at the last line break before its held-out end."""
    place = file.text.rfind(b"\n", 0, int(len(file.text) * (1 - fraction))) + 1
    if place == 0:
        raise CorpusError(
            f"corpus {source!r}: its only file has no line break in its first {1 - fraction:.0%}, so no end "
            "can be held out for validation; use a larger file, or two"
        )
    return [TextFile(file.name, file.text[:place])], [TextFile(file.name, file.text[place:])]


def _expand(specs: Sequence[str | os.PathLike[str]]) -> list[Path]:
    paths: list[Path] = []
    for spec in specs:
        path = Path(spec).expanduser()
        matches = [] if path.exists() else sorted(glob.glob(str(path)))
        if glob.has_magic(str(path)) and not path.exists() and not matches:
            raise CorpusError(f"corpus: no file matches {str(spec)!r} (looked in {Path.cwd()})")
        paths += [Path(match) for match in matches] or [path]
    return paths


def _binary_files(paths: Sequence[Path]) -> list[Path]:
    if len(paths) == 1 and paths[0].is_dir():
        # Other binaries in a folder of text end in .bin too.
        return sorted(path for path in paths[0].glob("*.bin") if "train" in path.stem or "val" in path.stem)
    binaries = [path for path in paths if path.suffix == ".bin"]
    if binaries and len(binaries) < len(paths):
        found = ", ".join(path.name for path in paths)
        raise CorpusError(
            f"corpus: token files (.bin) and text can't be combined in one corpus, found {found}; name one kind"
        )
    return binaries


def _binary_corpus(source: str, paths: list[Path], vocab_size: int | None, fraction: float) -> Corpus:
    held_out = [path for path in paths if "val" in path.stem]
    train = [path for path in paths if path not in held_out] if len(paths) > 1 else paths
    if len(train) != 1 or len(paths) > 2:
        raise CorpusError(
            f"corpus {source!r}: expected one .bin file of training tokens and at most one with 'val' in its "
            f"name, found {', '.join(path.name for path in paths)}; name the two files that you want"
        )
    mapped = {path: map_token_file(path) for path in paths}
    sizes = {check_tokens(path, tokens, vocab_size) for path, tokens in mapped.items()}
    tokens = mapped[train[0]]
    if len(paths) == 2:
        return Corpus(source, tokens, mapped[held_out[0]], sizes.pop())
    cut = int(tokens.size * (1 - fraction))
    if not 0 < cut < tokens.size:
        raise CorpusError(
            f"corpus {source!r}: {tokens.size} tokens are too few to hold any out for validation; use a longer "
            "file, another validation_fraction, or a second file with 'val' in its name"
        )
    return Corpus(source, tokens[:cut], tokens[cut:], sizes.pop())
