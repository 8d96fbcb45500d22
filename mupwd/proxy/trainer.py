"""The train loop: hands segments to the device, evaluates, checkpoints, resumes."""

from __future__ import annotations

import dataclasses
import math
import weakref
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from mupwd.plan import Plan
from mupwd.proxy import metrics_log
from mupwd.proxy.checkpoint import Checkpoints
from mupwd.proxy.config import ProxyConfig, TrainConfig
from mupwd.proxy.corpus import Corpus, check_batch
from mupwd.proxy.corpus import corpus as read_corpus
from mupwd.proxy.corpus_stream import StreamedCorpus
from mupwd.proxy.disk import explain_full_disk
from mupwd.proxy.evaluation import evaluation_batches
from mupwd.proxy.manifest import open_manifest, plan_digest
from mupwd.proxy.model_family import family
from mupwd.proxy.program import Hyper, Program
from mupwd.proxy.progress import RunProgress
from mupwd.proxy.recorder import Recorder, Segment
from mupwd.proxy.result import read_result, write_result
from mupwd.proxy.schedule import elapsed_shape

if TYPE_CHECKING:
    from jaxtyping import Array, Integer

PLAN_NAME = "plan.json"


class Trainer:
    """Trains the proxy at one width under one plan; one compilation serves every run.

    Learning rate, decay and seed are arguments of the compiled program. The loop reads the metrics of one
    segment while the next one runs. `program`, `tokens` (the training text on the device, None where it is
    too large for that) and `evaluation_batches` are public, for who runs several trials in one program (see
    `mupwd.proxy.program`).

    Args:
      width: of the model.
      recipe: makes the plan, for `base`: "mupwd", "sp", ... or a `mupwd.recipes.Recipe`.
      base: the width that is tuned.
      plan: the plan itself, for what a recipe's name does not say (depth, batch and token ratios); `recipe`
        and `base` are then not used.
      proxy: the model's configuration.
      train: the run's configuration.
      corpus: what it reads; the standard library's source by default.
      progress: True or False shows the progress bar or not; None shows it where stderr is a terminal.

    Raises:
      ValueError: the width does not fit the heads, or the vocabularies differ.
      CorpusError: the corpus is shorter than a batch.
      PlanError: the plan is for another model.

    Example:
      >>> trainer = Trainer(32, train=TrainConfig(steps=2, warmup=0, batch_size=2, sequence_length=8))
      >>> trainer.run(learning_rate=2**-5, weight_decay=0.1, seed=0)["status"]
      'finished'
    """

    def __init__(
        self,
        width: int,
        *,
        recipe: Any = "mupwd",
        base: int = 32,
        plan: Plan | None = None,
        proxy: ProxyConfig | None = None,
        train: TrainConfig | None = None,
        corpus: Corpus | StreamedCorpus | None = None,
        progress: bool | None = None,
    ):
        self.width = width
        self.proxy, self.train = proxy or ProxyConfig(), train or TrainConfig()
        self.corpus = read_corpus() if corpus is None else corpus
        self._check_corpus()
        if plan is None:
            form = "forward" if self.proxy.tied else "folded"
            self.plan = family(self.proxy, base).plan(width, recipe=recipe, form=form)
        else:
            self.plan = plan
        self.program = Program(width, self.proxy, self.train, self.plan)
        self._progress = progress
        self._init = jax.jit(self.program.init)
        self._segment = jax.jit(self.program.segment, donate_argnums=0)
        self._evaluate = jax.jit(self.program.evaluate)
        self.evaluation_batches = jnp.asarray(
            evaluation_batches(
                self.corpus, self.train.eval_batches, self.train.batch_size, self.train.sequence_length
            )
        )
        self.tokens = device_tokens(self.corpus)

    def run(
        self, learning_rate: float, weight_decay: float, seed: int, directory: str | Path | None = None
    ) -> dict[str, Any]:
        """Trains, or goes on where an earlier call with this directory was interrupted, to the same losses.

        Args:
          learning_rate: the base's peak; the plan scales it.
          weight_decay: the base's: per unit of learning rate (`decay="coupled"`) or per step at the peak
            (`"independent"`).
          seed: of the initial values and of the data, in [0, 2**32).
          directory: for manifest.json, plan.json, metrics.jsonl, checkpoints/ and result.json; None: nothing
            is written.

        Returns:
          "status": "finished" or "diverged"; "step": finished steps, or the first one whose loss was not
          finite or too high; "train/loss" and "eval/loss": the last ones, in nats per token (NaN for the
          latter after a divergence); "train/tokens_per_second": of this process, NaN where it ran too few
          steps to tell; "train/decay_elapsed": the sum over the steps of what each decays by, at the base (a
          parameter's own is that times its plan's `lr * wd`): how often the decay's timescale went by. With
          `observe_every`: the last "spectral/..." and "gain/..." observations, and, for `sigma_1` and gains,
          their means over the observations of the last quarter of the steps, "..._last_quarter".

        Raises:
          ValueError: a value is out of range, or the directory holds another run.
          OSError: the disk is full.
        """
        _check_hyper(learning_rate, weight_decay, seed)
        hyper = Hyper.of(learning_rate, weight_decay, seed)
        if directory is None:
            with self._progress_bar(0) as progress:
                result = self._train(hyper, self._init(hyper), seed, None, None, progress, [])
            return self.with_decay(result, learning_rate, weight_decay)
        directory = Path(directory)
        known = open_manifest(directory, self._manifest(learning_rate, weight_decay, seed))
        if known and (result := read_result(directory)) is not None:
            return result
        with ExitStack() as stack:
            with explain_full_disk(directory, PLAN_NAME):
                self.plan.save(directory / PLAN_NAME)
            checkpoints, state = None, None
            if self.train.checkpoint_every is not None:
                checkpoints = stack.enter_context(Checkpoints(directory, self.train.keep_checkpoints))
                state = checkpoints.restore(jax.eval_shape(self.program.init, hyper))
            state = self._init(hyper) if state is None else state
            done = int(state.step)
            log = stack.enter_context(
                metrics_log.MetricsLog(directory / metrics_log.FILE_NAME, keep_until=done)
            )
            earlier = metrics_log.read_metrics(directory)
            progress = stack.enter_context(self._progress_bar(done))
            result = self._train(hyper, state, seed, log, checkpoints, progress, earlier)
            log.flush()
        result = self.with_decay(result, learning_rate, weight_decay)
        write_result(directory, result)
        return result

    def _train(
        self,
        hyper: Hyper,
        state: Any,
        seed: int,
        log: metrics_log.MetricsLog | None,
        checkpoints: Checkpoints | None,
        progress: RunProgress,
        earlier: list[dict[str, Any]],
    ) -> dict[str, Any]:
        highest_loss = self.train.diverged_factor * math.log(self.proxy.vocab_size)
        recorder = Recorder(self.train, highest_loss, log, progress, earlier)
        step, running = int(state.step), None
        while step < self.train.last_step and recorder.diverged_at is None:
            stop = self._next_stop(step)
            data = self._data(seed, step, stop)
            state, metrics = self._segment(state, hyper, data, np.int32(stop - step))
            evaluation = None
            if stop == self.train.last_step or _divides(self.train.eval_every, stop):
                evaluation = self._evaluate(state.params, self.evaluation_batches)
            if running is not None:
                recorder.read(running)
            step, running = stop, Segment(step, stop, metrics, evaluation)
            if checkpoints is not None and (
                step == self.train.last_step or _divides(self.train.checkpoint_every, step)
            ):
                if recorder.diverged_at is None:
                    recorder.read(running)
                running = None
                if recorder.diverged_at is None:
                    # First the log: a resumed run has no other way to know what came before its checkpoint.
                    if log is not None:
                        log.flush()
                    checkpoints.save(step, state)
                    recorder.restart_clock()
        if running is not None and recorder.diverged_at is None:
            recorder.read(running)
        return recorder.result()

    def with_decay(self, result: dict[str, Any], learning_rate: float, weight_decay: float) -> dict[str, Any]:
        """Returns a result with "train/decay_elapsed".

        Args:
          result: with the "step" that was reached.
          learning_rate: the base's peak.
          weight_decay: the base's.
        """
        rate = weight_decay if self.train.decay == "independent" else learning_rate * weight_decay
        return {**result, "train/decay_elapsed": float(rate * self._elapsed[result["step"]])}

    @cached_property
    def _elapsed(self) -> np.ndarray:
        return elapsed_shape(self.train)

    def _next_stop(self, step: int) -> int:
        """The next step at which the host has something to do."""
        intervals = (self.train.log_every, self.train.eval_every, self.train.checkpoint_every)
        return min(
            self.train.last_step, *(step - step % every + every for every in intervals if every is not None)
        )

    def _data(self, seed: int, step: int, stop: int) -> Integer[Array, " N"] | Integer[Array, "S B T+1"]:
        if self.tokens is not None:
            return self.tokens
        B, T = self.train.batch_size, self.train.sequence_length
        batches = np.zeros((self.program.segment_steps, B, T + 1), np.int32)
        for i in range(stop - step):
            batches[i] = self.corpus.batch(seed, step + i, B, T)
        return jnp.asarray(batches)

    def _check_corpus(self) -> None:
        if self.corpus.vocab_size != self.proxy.vocab_size:
            raise ValueError(
                f"the corpus {self.corpus.source!r} has a vocabulary of {self.corpus.vocab_size} tokens and "
                f"the model one of {self.proxy.vocab_size}; set vocab_size={self.corpus.vocab_size}, or "
                "choose the corpus's tokenizer to match"
            )
        if isinstance(self.corpus, Corpus):
            B, T = self.train.batch_size, self.train.sequence_length
            check_batch(self.corpus.source, "train", self.corpus.train.size, 0, 0, B, T)

    def _progress_bar(self, done: int) -> RunProgress:
        return RunProgress(f"width {self.width}", self.train.last_step, done, self._progress)

    def _manifest(self, learning_rate: float, weight_decay: float, seed: int) -> dict[str, Any]:
        return {
            "width": self.width,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "seed": seed,
            "recipe": self.plan.recipe,
            "base": self.plan.base,
            "plan_sha256": plan_digest(self.plan),
            "corpus": {
                "source": self.corpus.source,
                "sha256": self.corpus.sha256,
                "vocab_size": self.corpus.vocab_size,
            },
            "proxy": dataclasses.asdict(self.proxy),
            "train": dataclasses.asdict(self.train),
        }


# Trainers of several widths share the text.
_TOKENS: weakref.WeakKeyDictionary[Corpus, Array] = weakref.WeakKeyDictionary()


def device_tokens(corpus: Corpus | StreamedCorpus) -> Array | None:
    """The training text on the device; None where it is too large for memory."""
    if not isinstance(corpus, Corpus) or isinstance(corpus.train, np.memmap):
        return None
    if corpus not in _TOKENS:
        _TOKENS[corpus] = jnp.asarray(corpus.train)
    return _TOKENS[corpus]


def _divides(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0


def _check_hyper(learning_rate: Any, weight_decay: Any, seed: Any) -> None:
    for name, value, lowest in (
        ("learning_rate", learning_rate, "above 0"),
        ("weight_decay", weight_decay, "0 or more"),
    ):
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value < 0 or (value == 0 and name == "learning_rate"):
            raise ValueError(f"{name} must be a finite number, {lowest}; got {value!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be an integer in [0, 2**32), got {seed!r}")
