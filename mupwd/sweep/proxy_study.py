"""Runs a study of the proxy in a directory: from the corpus to the results."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console

from mupwd.proxy.config import ProxyConfig, TrainConfig
from mupwd.proxy.corpus import Corpus, corpus
from mupwd.proxy.tokens_cache import default_cache_directory
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
    # What is wrong with the numbers is to be said now, not by the first trial.
    proxy, _ = study_configs(study)
    for width in study.widths:
        proxy.heads(width)
    text = _read(study)
    study = dataclasses.replace(
        study, hyperparameters={**study.hyperparameters, "vocab_size": text.vocab_size}
    )
    decided = {
        "study": "transfer",
        "base": study.base,
        "hyperparameters": dict(study.hyperparameters),
        "corpus": {"source": text.source, "sha256": text.sha256, "vocab_size": text.vocab_size},
    }
    runner = ProxyTrials(default_cache_directory() / "jax")
    opening = _opening(study, text, processes)
    ran = run_in_directory(study, directory, runner, decided, opening, processes, console)
    return study, ran.complete()


def _read(study: Study) -> Corpus:
    given = study.hyperparameters
    text = corpus(given.get("corpus", "stdlib"))
    if not isinstance(text, Corpus):
        raise ValueError(f"corpus {text.source!r}: a study reads its text from memory; give files")
    return text


def study_configs(study: Study) -> tuple[ProxyConfig, TrainConfig]:
    """Returns the configurations that all trials of a study of the proxy have in common.

    Raises:
      ValueError: a hyperparameter is out of its range; the message names it.
    """
    given = study.hyperparameters
    proxy: dict[str, Any] = {
        f.name: given[f.name] for f in dataclasses.fields(ProxyConfig) if f.name in given
    }
    train: dict[str, Any] = {
        f.name: given[f.name] for f in dataclasses.fields(TrainConfig) if f.name in given
    }
    return ProxyConfig(**proxy), TrainConfig(**train)


def _opening(study: Study, text: Corpus, processes: int) -> str:
    _, train = study_configs(study)
    return (
        f"Tuning {' and '.join(study.recipes)} at width {study.base}, applying at width {study.target}. Each trial: "
        f"{train.steps:,} steps of {train.batch_size * train.sequence_length:,} tokens of {text.source} "
        f"(sha256 {text.sha256[:12]}); about {sum(study.expected().values())} trials, {processes} at a time."
    )
