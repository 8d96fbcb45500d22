"""Corpora too large for memory: streamed by Hugging Face `datasets`, shuffled and packed by grain.

The source is written `hf:dataset[:config][:split][#column]`: a dataset of the Hub or a local folder of its
file formats, its configuration (may be empty, as in `hf:roneneldan/TinyStories::train`), a split ("train" by
default) and the column of text ("text" by default).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mupwd.proxy.corpus import check_batch, encode_bytes
from mupwd.proxy.corpus_errors import CorpusError, missing_extra
from mupwd.proxy.corpus_sampling import sample_host
from mupwd.proxy.corpus_text import TextFile
from mupwd.proxy.tokens_bpe import encode_bpe, train_bpe

if TYPE_CHECKING:
    from jaxtyping import Int

_BYTES = 256
_VALIDATION_BYTES = 1 << 20
_TOKENIZER_BYTES = 10 << 20
_SHUFFLE_WINDOW = 1024


@dataclass(eq=False)
class StreamedCorpus:
    """Training tokens that arrive as a stream, and a held-out part in memory.

    Documents are held out by the hash of their text. The training documents are tokenised, packed into rows,
    shuffled in windows of 1024 rows, and repeated when the stream ends.

    Args:
      source: the `hf:` specification.
      documents: iterable over the training documents, from their start at each iteration.
      encode: text files to tokens.
      validation: held-out tokens, of about 1 MB of text.
      vocab_size: number of distinct tokens.
      sha256: of the source, the vocabulary, the first training document and the validation tokens.
    """

    source: str
    documents: Iterable[TextFile]
    encode: Any
    validation: np.ndarray
    vocab_size: int
    sha256: str
    _open: dict[tuple[int, int, int], tuple[int, Iterator[np.ndarray]]] = field(default_factory=dict)

    def batch(
        self,
        seed: int,
        step: int,
        batch_size: int,
        sequence_length: int,
        split: Literal["train", "validation"] = "train",
    ) -> Int[np.ndarray, "B T+1"]:
        """Returns the batch of one step, a pure function of the arguments, as `Corpus.batch` does.

        Steps that follow each other read on; any other step reads the stream again from its start, which
        costs the tokenising of all that comes before.

        Args:
          seed: of the run, in [0, 2**32).
          step: of the run, in [0, 2**32).
          batch_size: rows B.
          sequence_length: T, tokens per row that are predicted.
          split: `"train"` (the stream) or `"validation"` (in memory).

        Returns:
          An int32 array `[batch_size, sequence_length + 1]`.

        Raises:
          CorpusError: an argument is out of range, or the validation split has fewer tokens than one batch.
        """
        if split == "validation":
            check_batch(self.source, split, self.validation.size, seed, step, batch_size, sequence_length)
            return sample_host(self.validation, seed, step, batch_size, sequence_length)
        endless = batch_size * (sequence_length + 1)
        check_batch(self.source, split, endless, seed, step, batch_size, sequence_length)
        key = seed, batch_size, sequence_length
        position, batches = self._open.pop(key, (0, None))
        if batches is None or position > step:
            position, batches = 0, self._batches(*key)
        batch = next(itertools.islice(batches, step - position, None))
        self._open[key] = step + 1, batches
        return batch

    def _batches(self, seed: int, batch_size: int, sequence_length: int) -> Iterator[np.ndarray]:
        from grain import experimental

        documents = experimental.RepeatIterDataset(_document_dataset(self.documents))
        tokens = documents.map(lambda document: {"tokens": self.encode([document]).astype(np.int32)})
        rows = experimental.ConcatThenSplitIterDataset(tokens, length_struct={"tokens": sequence_length + 1})
        shuffled = experimental.WindowShuffleIterDataset(rows, window_size=_SHUFFLE_WINDOW, seed=seed)
        return iter(shuffled.map(lambda row: row["tokens"]).batch(batch_size))


def open_stream(
    source: str, vocab_size: int, validation_fraction: float, cache_directory: Path
) -> StreamedCorpus:
    """Opens an `hf:` source; see the module's description for its syntax.

    Args:
      source: `"hf:dataset[:config][:split][#column]"`.
      vocab_size: 256 for bytes, otherwise that of a BPE trained on the first 10 MB of training text.
      validation_fraction: share of documents that is held out, by the hash of their text.
      cache_directory: for the tokenizer.

    Returns:
      The corpus; its held-out documents are read at once.

    Raises:
      CorpusError: `datasets` or `grain` is missing, the source is malformed or can't be opened, the column is
        missing or not text, or a split is empty.
    """
    documents = _Documents(source, *_parse(source), validation_fraction)
    held_out = list(_take_bytes(documents.side(held_out=True), _VALIDATION_BYTES))
    head = list(_take_bytes(documents, 1 if vocab_size == _BYTES else _TOKENIZER_BYTES))
    if not held_out or not head:
        raise CorpusError(
            f"corpus {source!r}: the {'validation' if head else 'training'} split is empty; use a dataset "
            "with more documents or another validation_fraction"
        )
    if vocab_size == _BYTES:
        encode = encode_bytes
    else:
        tokenizer = train_bpe(head, vocab_size, cache_directory)

        def encode(files: list[TextFile]) -> np.ndarray:
            return encode_bpe(tokenizer, files)

    validation = encode(held_out)
    digest = hashlib.sha256(f"{source} {vocab_size} ".encode())
    digest.update(head[0].text)
    digest.update(validation.tobytes())
    return StreamedCorpus(source, documents, encode, validation, vocab_size, digest.hexdigest())


def _parse(source: str) -> tuple[str, str | None, str, str]:
    place, _, column = source.removeprefix("hf:").partition("#")
    parts = place.split(":")
    if not parts[0] or len(parts) > 3 or source.endswith("#"):
        raise CorpusError(
            f"corpus: can't read {source!r}; expected hf:dataset[:config][:split][#column], for example "
            "'hf:roneneldan/TinyStories::train#text'"
        )
    dataset, config, split = (*parts, "", "")[:3]
    return dataset, config or None, split or "train", column or "text"


class _Documents:
    """The training (or held-out) documents of a Hub dataset, read anew at each iteration."""

    def __init__(
        self, source: str, dataset: str, config: str | None, split: str, column: str, fraction: float
    ) -> None:
        try:
            import datasets
            import grain  # noqa: F401
        except ImportError as error:
            raise missing_extra(error.name or "datasets", f"corpus {source!r}") from error
        try:
            self._rows = datasets.load_dataset(dataset, config, split=split, streaming=True)
            first = next(iter(self._rows), None)
        except (OSError, ValueError) as error:
            raise CorpusError(
                f"corpus: can't open {source!r} (dataset {dataset!r}, config {config!r}, split {split!r}): "
                f"{error}"
            ) from error
        if first is None:
            raise CorpusError(f"corpus {source!r} is empty: the split {split!r} has no rows")
        if not isinstance(first.get(column), str):
            found = ", ".join(f"{name} ({type(value).__name__})" for name, value in first.items())
            raise CorpusError(
                f"corpus {source!r}: there is no column of text named {column!r}; its columns are {found}. "
                f"Name one with '#', as in '{source.partition('#')[0]}#{next(iter(first))}'"
            )
        self._column, self._fraction = column, fraction

    def __iter__(self) -> Iterator[TextFile]:
        return self.side(held_out=False)

    def side(self, *, held_out: bool) -> Iterator[TextFile]:
        for row in self._rows:
            text = (row[self._column] or "").replace("\0", "").encode()
            place = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64
            if text and (place < self._fraction) == held_out:
                yield TextFile("", text)


def _take_bytes(documents: Iterable[TextFile], limit: int) -> Iterator[TextFile]:
    taken = 0
    for document in documents:
        yield document
        taken += len(document.text)
        if taken >= limit:
            return


def _document_dataset(documents: Iterable[TextFile]):
    """Returns the documents as a grain dataset whose iterator can be restored by its position."""
    import grain

    class Documents(grain.IterDataset):
        def __iter__(self):
            return DocumentIterator()

    class DocumentIterator(grain.DatasetIterator):
        def __init__(self) -> None:
            super().__init__()
            self._position, self._documents = 0, iter(documents)

        def __next__(self) -> TextFile:
            document = next(self._documents)
            self._position += 1
            return document

        def get_state(self) -> dict[str, int]:
            return {"position": self._position}

        def set_state(self, state: dict[str, int]) -> None:
            self._position = state["position"]
            self._documents = itertools.islice(iter(documents), self._position, None)

    return Documents()
