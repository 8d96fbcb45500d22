"""Runs a declared sweep in its directory."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

from rich.console import Console

from mupwd.files import read_json
from mupwd.named import named
from mupwd.proxy.disk import write_atomic
from mupwd.sweep.declare import Sweep, read_sweep, write_sweep
from mupwd.sweep.directory import Cluster, processes_at_a_time, run_in_directory
from mupwd.sweep.gpus import gpus_of
from mupwd.sweep.known import Ran
from mupwd.sweep.local import LocalExecutor
from mupwd.sweep.proxy_study import checked_corpus, corpus_identity, proxy_configs, proxy_trials
from mupwd.sweep.runner import Measurement, OneByOne, Runner
from mupwd.sweep.trial import Train
from mupwd.sweep.workers import losses_of

_CODE = "code.json"


class Prepared(NamedTuple):
    """A sweep with all that is needed to run it.

    runner: of its trials. decided: what must not change between starts, as JSON types. about: in words.
    """

    sweep: Sweep
    runner: Runner
    decided: dict[str, Any]
    about: str


def prepare(sweep: Sweep, train: Train | None = None) -> Prepared:
    """Reads the corpus, or takes the model of one's own, and says what is wrong before anything runs.

    Args:
      sweep: as declared.
      train: the function that `sweep.train` names.

    Raises:
      ValueError: a hyperparameter is unknown or out of range, or a width does not fit.
      CorpusError: the corpus cannot be read.
    """
    horizon = {"steps": sweep.steps, "tokens_per_parameter": sweep.tokens_per_parameter}
    decided = {"study": "sweep", "base": sweep.base, "horizon": horizon}
    if train is not None:
        decided |= {"train": sweep.train, "hyperparameters": dict(sweep.hyperparameters)}
        return Prepared(sweep, OneByOne(train), decided, f"{sweep.train}")
    assert sweep.base is not None
    widths = sorted({sweep.base, *sweep.widths})
    for width in widths:
        proxy_configs(sweep.given(width))
    text = checked_corpus(sweep.given(sweep.target), widths)
    given = {**sweep.hyperparameters, "vocab_size": text.vocab_size}
    sweep = dataclasses.replace(sweep, hyperparameters=given)
    decided |= {"hyperparameters": given, "corpus": corpus_identity(text)}
    return Prepared(sweep, proxy_trials(), decided, f"the proxy on {text.source} (sha256 {text.sha256[:12]})")


def prepare_named(sweep: Sweep) -> Prepared:
    """Prepares a sweep whose train function, where it has one of its own, is found by its name.

    Raises:
      ValueError: as `prepare`; or there is no such function, or other processes could not be given it.
    """
    if sweep.train is None:
        return prepare(sweep)
    train = train_function(sweep.train)
    try:
        pickle.dumps(train)
    except Exception as error:
        raise ValueError(
            f"--train {sweep.train} cannot be handed to other processes ({error}); define it by `def` in a module"
        ) from error
    return prepare(sweep, train)


def train_function(name: str) -> Train:
    """Returns the train function that "package.module:name" names.

    Args:
      name: as `--train` gives it.

    Raises:
      ValueError: there is none, or it cannot be called as one.
    """
    train = named(name, "--train")
    if not callable(train):
        raise ValueError(f"--train {name} is {type(train).__name__}; expected a function")
    try:
        signature = inspect.signature(train)
    except ValueError:  # it is written in C
        return cast(Train, train)
    try:
        signature.bind(32, {}, 0, None)
    except TypeError as error:
        raise ValueError(
            f"--train {name}{signature}: expected train(width, hyperparameters, seed, directory): {error}"
        ) from None
    return cast(Train, train)


def run_sweep(
    prepared: Prepared,
    directory: Path,
    processes: int | None = None,
    retries: int = 1,
    console: Console | None = None,
    cluster: Cluster | None = None,
    unattended: bool = False,
) -> Ran:
    """Runs what is missing of a sweep; the same call goes on where an earlier one was stopped, or shares its work.

    Args:
      prepared: the sweep.
      directory: for manifest.json, sweep.json, trials/, failed/ and claims/.
      processes: that run trials at the same time; by default one per core on a CPU, at most 8, and one in this
        process on an accelerator.
      retries: how often a trial that fails is tried again.
      console: for what is to be told; stdout by default. Progress and notices go to stderr.
      cluster: runs the trials instead of processes here.
      unattended: this is one of many workers: a declaration that the directory holds stays as it is, and a trial that
        ends every process that runs it counts as failed after a while.

    Raises:
      ValueError: the directory holds another sweep.
      SweepError: the cluster's workers end again and again.
      OSError: a result could not be written.
    """
    processes = 1 if cluster is not None else processes_at_a_time(processes)
    at_a_time = f"{processes} at a time" if cluster is None else f"{cluster.count} workers"
    sweep, study = prepared.sweep, prepared.sweep.study()
    steps = sorted({int(sweep.given(width)["steps"]) for width in sweep.widths})
    horizon = " to ".join(f"{one:,}" for one in dict.fromkeys((steps[0], steps[-1])))
    count = f"{'about ' if sweep.adaptive else ''}{sum(study.expected().values())}"
    opening = (
        f"{count} trials of {prepared.about}: {', '.join(sweep.recipes)} at widths "
        f"{', '.join(map(str, sweep.widths))}, {sweep.extent()}, {horizon} steps each; {at_a_time}."
    )

    def opened(notify: Callable[[str], None]) -> None:
        if not unattended or read_sweep(directory) is None:
            write_sweep(directory, sweep)
        _notice_code(directory, sweep, notify)

    return run_in_directory(
        study,
        directory,
        prepared.runner,
        prepared.decided,
        opening,
        processes,
        console,
        retries,
        opened,
        cluster,
        losses_of(retries) if unattended else None,
    )


def calibrate(prepared: Prepared, processes: int | None = None) -> dict[int, Measurement]:
    """Times some steps of every width.

    Args:
      prepared: the sweep.
      processes: as for `run_sweep`.

    Returns:
      `{width: how its trials are best run, and the seconds that each takes}`; NaN where nothing can be known without
      running a trial.
    """
    first = {trial.width: trial for trial in reversed(prepared.sweep.trials)}
    processes = processes_at_a_time(processes)
    with LocalExecutor(prepared.runner, processes, gpus=gpus_of(processes)) as executor:
        found = executor.measure(list(first.values()), 1)
    return {width: found.get(trial.id, Measurement(1, float("nan"))) for width, trial in first.items()}


def _notice_code(directory: Path, sweep: Sweep, notify: Callable[[str], None]) -> None:
    """Says where the module of one's own train function is not what it was at the start."""
    if sweep.train is None:
        return
    source = inspect.getsourcefile(importlib.import_module(sweep.train.partition(":")[0]))
    now = hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else None
    file = directory / _CODE
    if not file.exists():
        write_atomic(file, json.dumps({"train_sha256": now}) + "\n")
        return
    try:
        then = read_json(file)["train_sha256"]
    except (ValueError, KeyError, TypeError):
        then = None
    if then != now:
        notify(
            f"{source} has changed since {directory} was started; finished trials are kept, and were run by what it "
            "was then"
        )
