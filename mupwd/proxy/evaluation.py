"""Held-out text as fixed batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mupwd.proxy.corpus import check_batch
from mupwd.proxy.corpus_stream import StreamedCorpus

if TYPE_CHECKING:
    from jaxtyping import Int

    from mupwd.proxy.corpus import Corpus


def evaluation_batches(
    corpus: Corpus | StreamedCorpus, batches: int, batch_size: int, sequence_length: int
) -> Int[np.ndarray, "E B T+1"]:
    """Returns the batches of every evaluation: sequences at even distances through the held-out tokens.

    They do not depend on the seed or the step, so that losses of all runs on one corpus compare.

    Args:
      corpus: its `validation` tokens are read.
      batches: wanted; fewer where the held-out text has fewer sequences that do not overlap.
      batch_size: sequences in a batch.
      sequence_length: tokens that are predicted per sequence.

    Raises:
      CorpusError: the held-out text is shorter than one batch.
    """
    tokens = corpus.validation
    check_batch(corpus.source, "validation", tokens.size, 0, 0, batch_size, sequence_length)
    batches = min(batches, (tokens.size - 1) // (sequence_length * batch_size))
    starts = np.linspace(0, tokens.size - sequence_length - 1, batches * batch_size).astype(np.int64)
    windows: Any = starts[:, None] + np.arange(sequence_length + 1)[None, :]
    return tokens[windows].astype(np.int32).reshape(batches, batch_size, sequence_length + 1)
