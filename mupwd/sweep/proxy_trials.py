"""Trials of the proxy, one after another or several in one program."""

from __future__ import annotations

import functools
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mupwd.proxy.metrics_log import FILE_NAME, MetricsLog
from mupwd.proxy.program import Hyper
from mupwd.proxy.trainer import Trainer
from mupwd.proxy.trial import train, trainer_for
from mupwd.sweep.runner import Measurement
from mupwd.sweep.trial import LOSS, Metrics, Trial

_MEASURED_SECONDS = 0.5
_WORTH_IT = 1.25
# Seconds of trials below which nothing can be saved that another program would not cost.
_WORTH_COMPILING = 10.0


class ProxyTrials:
    """Runs groups of trials of the proxy.

    The trials of a group differ in learning rate, weight decay and seed only. Several run in one program by
    `vmap`, with the losses of single runs up to rounding.

    Args:
      cache_directory: where compiled programs are kept for other processes and later runs; None: nowhere.
    """

    def __init__(self, cache_directory: Path | None = None):
        self._cache_directory = cache_directory

    def run(self, trials: Sequence[Trial], folders: Sequence[Path | None]) -> list[Metrics]:
        """Returns each trial's metrics.

        Args:
          trials: of one width, with equal hyperparameters but for learning rate and decay.
          folders: for each trial's metrics log; None: none is written.
        """
        self._set_cache()
        trainer = _trainer(trials[0])
        if any(_trainer(trial) is not trainer for trial in trials):
            raise ValueError("trials that run together may differ in learning rate, decay and seed only")
        if len(trials) == 1 or not _can_run_together(trainer):
            return [_run_alone(one, folder) for one, folder in zip(trials, folders, strict=True)]
        return _run_together(trainer, trials, folders)

    def measure(self, trial: Trial, most: int) -> Measurement:
        """Times some steps of one trial, then of 4, 16, ... in one program, as long as that pays.

        Compiling another program costs seconds: where all trials together take no longer, one at a time is best.

        Args:
          trial: what to time.
          most: trials in one program.
        """
        self._set_cache()
        trainer = _trainer(trial)
        steps = trainer.train.last_step
        best = Measurement(1, _seconds_per_step(trainer, trial, 1) * steps)
        if best.seconds * most < _WORTH_COMPILING:
            return best
        size = 4
        while size <= most and _can_run_together(trainer):
            try:
                seconds = _seconds_per_step(trainer, trial, size) * steps / size
            except jax.errors.JaxRuntimeError:  # more than the device has memory for
                break
            if seconds * _WORTH_IT > best.seconds:
                break
            best = Measurement(size, seconds)
            size *= 4
        return best

    def _set_cache(self) -> None:
        if self._cache_directory is not None and jax.config.values["jax_compilation_cache_dir"] is None:
            jax.config.update("jax_compilation_cache_dir", str(self._cache_directory))
            # Also what compiles quickly: every process and every later run would do it again.
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


class _Compiled(NamedTuple):
    init: Callable[..., Any]
    segment: Callable[..., Any]
    evaluate: Callable[..., Any]


def _trainer(trial: Trial) -> Trainer:
    return trainer_for(trial.width, trial.hyperparameters)


@functools.lru_cache(maxsize=32)
def _compiled(trainer: Trainer, together: bool) -> _Compiled:
    program = trainer.program
    if not together:
        return _Compiled(
            jax.jit(program.init), jax.jit(program.segment, donate_argnums=0), jax.jit(program.evaluate)
        )
    return _Compiled(
        jax.jit(jax.vmap(program.init)),
        jax.jit(jax.vmap(program.segment, in_axes=(0, 0, None, None)), donate_argnums=0),
        jax.jit(jax.vmap(program.evaluate, in_axes=(0, None))),
    )


def _can_run_together(trainer: Trainer) -> bool:
    """Not where batches come from the host, where vmap would observe at every step, nor what a run alone does on the
    way."""
    on_the_way = (trainer.train.observe_every, trainer.train.eval_every, trainer.train.checkpoint_every)
    return trainer.tokens is not None and on_the_way == (None, None, None)


def _hypers(trials: Sequence[Trial]) -> Hyper:
    if len(trials) == 1:
        values = trials[0].hyperparameters
        return Hyper.of(values["learning_rate"], values["weight_decay"], trials[0].seed)
    return Hyper(
        jnp.array([trial.hyperparameters["learning_rate"] for trial in trials], jnp.float32),
        jnp.array([trial.hyperparameters["weight_decay"] for trial in trials], jnp.float32),
        jnp.array([trial.seed for trial in trials], jnp.uint32),
    )


def _run_alone(trial: Trial, folder: Path | None) -> Metrics:
    # What an attempt that was killed left there is of no use without a checkpoint, and may be of other code.
    if folder is not None and trial.hyperparameters.get("checkpoint_every") is None:
        shutil.rmtree(folder, ignore_errors=True)
    return train(trial.width, trial.hyperparameters, trial.seed, folder)


def _run_together(trainer: Trainer, trials: Sequence[Trial], folders: Sequence[Path | None]) -> list[Metrics]:
    compiled, hypers, steps = _compiled(trainer, True), _hypers(trials), trainer.train.last_step
    state = compiled.init(hypers)
    seen: list[dict[str, jax.Array]] = []
    for start in range(0, steps, trainer.program.segment_steps):
        count = min(trainer.program.segment_steps, steps - start)
        state, metrics = compiled.segment(state, hypers, trainer.tokens, np.int32(count))
        seen.append({name: values[:, :count] for name, values in metrics.items()})
    evaluations = np.asarray(compiled.evaluate(state.params, trainer.evaluation_batches))
    # [trials, steps]
    curves = {name: np.concatenate([one[name] for one in seen], axis=1) for name in seen[0]}
    highest = trainer.train.diverged_factor * math.log(trainer.proxy.vocab_size)
    found = []
    for index, folder in enumerate(folders):
        values = trials[index].hyperparameters
        one = _metrics(curves["train/loss"][index], float(evaluations[index]), highest)
        found.append(trainer.with_decay(one, values["learning_rate"], values["weight_decay"]))
        if folder is not None:
            _write_log(folder, {name: curve[index] for name, curve in curves.items()}, trainer, found[-1])
    return found


def _write_log(folder: Path, curves: dict[str, np.ndarray], trainer: Trainer, found: Metrics) -> None:
    """The log that the trial would have written had it run alone."""
    folder.mkdir(parents=True, exist_ok=True)
    last = int(found["step"])
    with MetricsLog(folder / FILE_NAME, keep_until=0) as log:
        every = trainer.program.segment_steps
        for step in sorted({*range(every, last, every), last}):
            record = {name: float(curve[step - 1]) for name, curve in curves.items()}
            if step == last and found["status"] == "finished":
                record[LOSS] = float(found[LOSS])
            log.write(step, record)


def _metrics(losses: np.ndarray, evaluation: float, highest: float) -> Metrics:
    bad = ~(losses <= highest)
    if bad.any():
        at = int(bad.argmax())
        return {"status": "diverged", "step": at + 1, "train/loss": float(losses[at]), LOSS: math.nan}
    return {"status": "finished", "step": len(losses), "train/loss": float(losses[-1]), LOSS: evaluation}


def _seconds_per_step(trainer: Trainer, trial: Trial, size: int) -> float:
    """Of the whole group, without compilation."""
    compiled, hypers = _compiled(trainer, size > 1), _hypers([trial] * size)
    count = trainer.program.segment_steps
    data = trainer.data(trial.seed, 0, count)
    state, _ = compiled.segment(compiled.init(hypers), hypers, data, np.int32(count))
    jax.block_until_ready(state)
    segments, start = 0, time.monotonic()
    while segments < 2 or time.monotonic() - start < _MEASURED_SECONDS:
        state, _ = compiled.segment(state, hypers, data, np.int32(count))
        jax.block_until_ready(state)
        segments += 1
    return (time.monotonic() - start) / (segments * count)
