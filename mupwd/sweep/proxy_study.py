"""Runs a study of the proxy in a directory: from the corpus to the results."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from mupwd.proxy.config import ProxyConfig, TrainConfig
from mupwd.proxy.corpus import Corpus, corpus
from mupwd.proxy.manifest import environment, open_manifest, read_manifest
from mupwd.proxy.tokens_cache import default_cache_directory
from mupwd.sweep.drive import run_study
from mupwd.sweep.local import LocalExecutor
from mupwd.sweep.progress import SweepProgress
from mupwd.sweep.proxy_trials import ProxyTrials
from mupwd.sweep.store import Store
from mupwd.sweep.study import Study
from mupwd.sweep.trial import Result

_MOST_PROCESSES = 8


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
      SweepError: a trial failed, or another process runs in the directory.
      OSError: a result could not be written.
    """
    processes = _processes(processes)
    # What is wrong with the numbers is to be said now, not by the first trial.
    proxy, _ = study_configs(study)
    for width in study.widths:
        proxy.heads(width)
    text = _read(study)
    study = dataclasses.replace(
        study, hyperparameters={**study.hyperparameters, "vocab_size": text.vocab_size}
    )
    errors = Console(stderr=True)
    decided = {
        "study": "transfer",
        "base": study.base,
        "hyperparameters": dict(study.hyperparameters),
        "corpus": {"source": text.source, "sha256": text.sha256, "vocab_size": text.vocab_size},
    }
    if open_manifest(directory, decided):
        _notice_changes(directory, errors)
    (console or Console()).print(_opening(study, text, processes), soft_wrap=True, highlight=False)
    store = Store(directory, lambda text: errors.print(f"notice: {text}", soft_wrap=True, highlight=False))
    runner = ProxyTrials(default_cache_directory() / "jax")
    with (
        store.lock(),
        LocalExecutor(runner, processes) as executor,
        SweepProgress(errors, study.expected(), processes) as progress,
    ):
        return study, run_study(study, store, executor, progress)


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


def _notice_changes(directory: Path, console: Console) -> None:
    """Says what differs between the machine and code that started the directory and the present ones."""
    then, now = read_manifest(directory)["environment"], environment()
    for key in ("python", "versions", "device", "git_revision"):
        if then.get(key) != now[key]:
            console.print(
                f"notice: {directory} was started with another {key.replace('_', ' ')} ({then.get(key)}, now "
                f"{now[key]}); finished trials are kept",
                soft_wrap=True,
                highlight=False,
            )


def _processes(given: int | None) -> int:
    if given is not None:
        if given < 1:
            raise ValueError(f"processes must be at least 1, got {given}")
        return given
    if jax.default_backend() != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_PROCESSES)
