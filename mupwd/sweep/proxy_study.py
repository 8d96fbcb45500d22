"""Runs a study of the proxy in a directory: from the corpus to the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from mupwd.proxy.config import ProxyConfig, TrainConfig, configured, unknown_names
from mupwd.proxy.corpus import Corpus, check_batch, corpus
from mupwd.proxy.corpus_stream import StreamedCorpus
from mupwd.proxy.tokens_cache import default_cache_directory
from mupwd.proxy.trial import HYPERPARAMETERS
from mupwd.sweep.directory import processes_at_a_time, run_in_directory
from mupwd.sweep.proxy_trials import ProxyTrials
from mupwd.sweep.study import Study
from mupwd.sweep.trial import Result


def run_proxy_study(
    study: Study, directory: Path, processes: int | None = None, console: Console | None = None
) -> tuple[Study, list[Result]]:
    """Runs what is missing of a study of the proxy; the same call goes on where an earlier one was stopped.

    Args:
      study: its hyperparameters are those of `mupwd.proxy.train`.
      directory: for manifest.json and trials/.
      processes: that run trials at the same time; by default one per core on a CPU, at most 8, and one in this
        process on an accelerator.
      console: for what is to be told; stdout by default. Progress and notices go to stderr.

    Returns:
      The study as it was run, with the corpus's vocabulary in its hyperparameters, and its results.

    Raises:
      ValueError: a hyperparameter is out of range, or the directory holds another study.
      CorpusError: the corpus cannot be read.
      SweepError: a trial failed.
      OSError: a result could not be written.
    """
    processes = processes_at_a_time(processes)
    text = checked_corpus(study.hyperparameters, study.widths)
    study = dataclasses.replace(
        study, hyperparameters={**study.hyperparameters, "vocab_size": text.vocab_size}
    )
    decided = {
        "study": "transfer",
        "base": study.base,
        "hyperparameters": dict(study.hyperparameters),
        "corpus": corpus_identity(text),
    }
    opening = _opening(study, text, processes)
    ran = run_in_directory(study, directory, proxy_trials(), decided, opening, processes, console)
    return study, ran.complete()


def proxy_trials() -> ProxyTrials:
    """Returns what runs trials of the proxy, with compiled programs kept for other processes and later runs."""
    return ProxyTrials(default_cache_directory() / "jax")


def corpus_identity(text: Corpus | StreamedCorpus) -> dict[str, Any]:
    """Returns what of a corpus must not change while trials are run on it."""
    return {"source": text.source, "sha256": text.sha256, "vocab_size": text.vocab_size}


def checked_corpus(hyperparameters: Mapping[str, Any], widths: Iterable[int]) -> Corpus | StreamedCorpus:
    """Returns the text of trials of the proxy; says now what is wrong with their numbers, not in the first trial.

    Args:
      hyperparameters: what all trials have in common.
      widths: of the trials.

    Raises:
      ValueError: a hyperparameter is unknown or out of range, or a width does not fit the heads.
      CorpusError: the corpus cannot be read.
    """
    proxy, train = proxy_configs(hyperparameters)
    for width in widths:
        proxy.key_value_heads(width)
    text = corpus(
        hyperparameters.get("corpus", "stdlib"),
        tokenizer=hyperparameters.get("tokenizer", "bytes"),
        vocab_size=hyperparameters.get("vocab_size", ProxyConfig.vocab_size),
    )
    if isinstance(text, Corpus):
        for split, tokens in (("train", text.train), ("validation", text.validation)):
            check_batch(text.source, split, tokens.size, 0, 0, train.batch_size, train.sequence_length)
    return text


def proxy_configs(hyperparameters: Mapping[str, Any]) -> tuple[ProxyConfig, TrainConfig]:
    """Returns the configurations that trials with these hyperparameters have in common.

    Raises:
      ValueError: a hyperparameter is unknown or out of its range; the message names it.
    """
    if problem := unknown_names(hyperparameters, HYPERPARAMETERS, "hyperparameter"):
        raise ValueError(problem)
    return configured(ProxyConfig, hyperparameters), configured(TrainConfig, hyperparameters)


def _opening(study: Study, text: Corpus | StreamedCorpus, processes: int) -> str:
    _, train = proxy_configs(study.hyperparameters)
    return (
        f"Tuning {' and '.join(study.recipes)} at width {study.base}, applying at width {study.target}. Each trial: "
        f"{train.steps:,} steps of {train.batch_size * train.sequence_length:,} tokens of {text.source} "
        f"(sha256 {text.sha256[:12]}); about {sum(study.expected().values())} trials, {processes} at a time."
    )
