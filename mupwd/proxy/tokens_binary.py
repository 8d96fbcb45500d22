"""Token files of other projects: `.bin` as nanoGPT and llm.c write them, memory-mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mupwd.proxy.corpus_errors import CorpusError

_HEADER_BYTES = 1024
# llm.c, dev/data/data_common.py: magic number -> (version, token type).
_LLM_C = {20240520: (1, np.dtype("<u2")), 20240801: (7, np.dtype("<u4"))}
_CHUNK = 1 << 24


def map_token_file(path: Path) -> np.ndarray:
    """Maps the tokens of one `.bin` file into memory, read-only.

    Two styles are told apart by the first four bytes. llm.c writes 256 int32 of header (magic number,
    version, count of tokens), then the tokens: magic 20240520 with uint16 tokens (GPT-2), 20240801 with
    uint32 tokens (Llama 3). nanoGPT writes uint16 tokens alone.

    Args:
      path: the file.

    Returns:
      The tokens, uint16 or uint32, `[N]`, N > 0.

    Raises:
      CorpusError: the file is missing, unreadable, empty, cut short, or of a version that is not known.

    Example:
      >>> import tempfile
      >>> file = Path(tempfile.mkdtemp()) / "train.bin"
      >>> np.array([5, 6, 7], np.uint16).tofile(file)
      >>> map_token_file(file).tolist()
      [5, 6, 7]
    """
    if path.exists() and not path.is_file():
        raise CorpusError(
            f"corpus: {str(path)!r} is no file of tokens, but a folder, a pipe or a device; name a file"
        )
    try:
        with path.open("rb") as file:
            header = np.frombuffer(file.read(_HEADER_BYTES), np.uint8)
        size = path.stat().st_size
    except OSError as error:
        raise CorpusError(f"corpus: can't read {str(path)!r}: {error.strerror}") from error
    if size == 0:
        raise CorpusError(f"corpus: {str(path)!r} is empty; write or download it again")
    magic = int(header[:4].view("<i4")[0]) if header.size >= 4 else 0
    if magic in _LLM_C:
        offset = _HEADER_BYTES
        dtype, count = _read_llm_c_header(path, magic, header, size)
    elif size % 2:
        raise CorpusError(
            f"corpus: {str(path)!r} has {size} bytes, an odd number, so it is not a file of uint16 tokens "
            "(nanoGPT), nor does it start with a header of llm.c; write or download it again"
        )
    else:
        offset, dtype, count = 0, np.dtype("<u2"), size // 2
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(count,))


def check_tokens(path: Path, tokens: np.ndarray, vocab_size: int | None) -> int:
    """Returns the vocabulary size after reading every token once.

    Args:
      path: the file, for messages.
      tokens: `[N]`.
      vocab_size: what the user said, or None.

    Raises:
      CorpusError: no vocabulary size was given, or a token lies outside it.

    Example:
      >>> check_tokens(Path("train.bin"), np.array([0, 9], np.uint16), 10)
      10
    """
    for start in range(0, tokens.size, _CHUNK):
        chunk = tokens[start : start + _CHUNK]
        if vocab_size is not None and int(chunk.max()) >= vocab_size:
            place = start + int(np.argmax(chunk >= vocab_size))
            raise CorpusError(
                f"corpus: {str(path)!r} holds token {int(tokens[place])} at position {place}, outside the "
                f"vocabulary of {vocab_size}; pass the vocab_size of the tokenizer that wrote the file"
            )
    if vocab_size is None:
        largest = max(int(tokens[start : start + _CHUNK].max()) for start in range(0, tokens.size, _CHUNK))
        raise CorpusError(
            f"corpus: {str(path)!r} doesn't say its vocabulary; pass vocab_size (its largest token is "
            f"{largest}, so at least {largest + 1}; GPT-2's tokenizer has 50257)"
        )
    return vocab_size


def _read_llm_c_header(path: Path, magic: int, header: np.ndarray, size: int) -> tuple[np.dtype, int]:
    known, dtype = _LLM_C[magic]
    if header.size < _HEADER_BYTES:
        raise CorpusError(
            f"corpus: {str(path)!r} is cut short inside its header of {_HEADER_BYTES} bytes; write or download it again"
        )
    version, count = (int(word) for word in header[4:12].view("<i4"))
    if version != known:
        raise CorpusError(
            f"corpus: {str(path)!r} is a token file of llm.c (magic {magic}) of version {version}; "
            f"only version {known} is known: write it anew in that version"
        )
    expected = _HEADER_BYTES + count * dtype.itemsize
    if count <= 0 or size != expected:
        raise CorpusError(
            f"corpus: the header of {str(path)!r} says {count} tokens, {expected} bytes in all, but the file "
            f"has {size}; it was cut short or damaged, so write or download it again"
        )
    return dtype, count
