"""One trial of a sweep: a pure function of width, hyperparameters and seed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mupwd.proxy.config import ProxyConfig, TrainConfig, configured, unknown_names
from mupwd.proxy.corpus import Corpus, corpus
from mupwd.proxy.corpus_stream import StreamedCorpus
from mupwd.proxy.model_family import family
from mupwd.proxy.trainer import Trainer

_TUNED = ("learning_rate", "weight_decay")
RATIOS = ("depth_ratio", "batch_ratio", "token_ratio", "sequence_ratio")
"""Of the plan, besides the widths."""
_PLAN = {"recipe": "mupwd", "base": 32, **dict.fromkeys(RATIOS, 1.0)}
_CORPUS = {"corpus": "stdlib", "tokenizer": "bytes"}
_FIELDS = (one.name for kind in (ProxyConfig, TrainConfig) for one in dataclasses.fields(kind))
HYPERPARAMETERS = (*_TUNED, *_PLAN, *_CORPUS, *_FIELDS)
"""All names that a trial of the proxy knows."""


def train(
    width: int, hyperparameters: Mapping[str, Any], seed: int, directory: str | Path | None
) -> dict[str, Any]:
    """Trains the proxy once: the trial protocol of the sweeps.

    Trials that differ only in learning rate, weight decay, seed and directory share one compilation.

    Args:
      width: of the model.
      hyperparameters: "learning_rate" and "weight_decay", both the base's, and any of: "recipe", "base",
        "depth_ratio", "batch_ratio", "token_ratio", "sequence_ratio" (the plan), "corpus", "tokenizer" (the data),
        the fields of `ProxyConfig` and `TrainConfig`.
      seed: of the initial values and of the data, in [0, 2**32).
      directory: of the run, which is resumed where it was interrupted; None: nothing is written.

    Returns:
      The metrics of `Trainer.run`: "status" ("finished" or "diverged"), "step", "train/loss", "eval/loss",
      "train/tokens_per_second", "train/decay_elapsed", and the observations that `observe_every` asks for.

    Raises:
      ValueError: a hyperparameter is unknown (the message has the nearest names), missing or out of range, or
        the directory holds another run.
      CorpusError: the corpus cannot be read, or is shorter than a batch.
      OSError: the disk is full.

    Example:
      >>> tuned = {"learning_rate": 2**-5, "weight_decay": 0.1}
      >>> metrics = train(32, {**tuned, "steps": 2, "warmup": 0, "batch_size": 2}, seed=0, directory=None)
      >>> metrics["status"], metrics["step"]
      ('finished', 2)
    """
    trainer = trainer_for(width, hyperparameters)
    return trainer.run(hyperparameters["learning_rate"], hyperparameters["weight_decay"], seed, directory)


def trainer_for(width: int, hyperparameters: Mapping[str, Any]) -> Trainer:
    """Returns the trainer of a trial: the same one for all that differ in learning rate, decay and seed only.

    Args:
      width: of the model.
      hyperparameters: as in `train`.

    Raises:
      ValueError, CorpusError: as in `train`.
    """
    given = dict(hyperparameters)
    problem = unknown_names(given, HYPERPARAMETERS, "hyperparameter")
    if problem:
        raise ValueError(problem)
    missing = [name for name in _TUNED if name not in given]
    if missing:
        raise ValueError(f"hyperparameters must hold {' and '.join(map(repr, missing))}")
    static = tuple(sorted((name, value) for name, value in given.items() if name not in _TUNED))
    try:
        hash(static)
    except TypeError as error:
        raise ValueError(f"hyperparameters must be plain values, got {dict(static)!r}") from error
    return _trainer(width, static)


# A sweep goes back and forth between several widths and recipes.
@functools.lru_cache(maxsize=32)
def _trainer(width: int, static: tuple[tuple[str, Any], ...]) -> Trainer:
    given = dict(static)
    proxy = configured(ProxyConfig, given)
    plan = {name: given.get(name, default) for name, default in _PLAN.items()}
    return Trainer(
        width,
        plan=family(proxy, plan.pop("base")).plan(width, form=proxy.form, **plan),
        proxy=proxy,
        train=configured(TrainConfig, given),
        corpus=_corpus(*(given.get(name, default) for name, default in _CORPUS.items()), proxy.vocab_size),
        # Sweeps show the progress of all trials together.
        progress=False,
    )


@functools.lru_cache(maxsize=2)
def _corpus(spec: str, tokenizer: Any, vocab_size: int) -> Corpus | StreamedCorpus:
    return corpus(spec, tokenizer=tokenizer, vocab_size=vocab_size)
