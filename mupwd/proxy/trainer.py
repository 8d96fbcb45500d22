"""The train loop: hands segments to the device, evaluates, checkpoints, resumes."""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from mupwd.plan import Plan
from mupwd.proxy.config import ProxyConfig, TrainConfig
from mupwd.proxy.corpus import Corpus, check_batch
from mupwd.proxy.corpus import corpus as read_corpus
from mupwd.proxy.corpus_stream import StreamedCorpus
from mupwd.proxy.evaluation import evaluation_batches
from mupwd.proxy.hosts import check_same, is_first
from mupwd.proxy.manifest import environment, plan_digest
from mupwd.proxy.mesh import Layout
from mupwd.proxy.metric_sinks import BackgroundSinks, Sink
from mupwd.proxy.model_family import family
from mupwd.proxy.program import Hyper, Program
from mupwd.proxy.progress import RunProgress
from mupwd.proxy.recorder import Recorder, Segment
from mupwd.proxy.run_files import RunFiles
from mupwd.proxy.schedule import elapsed_shape
from mupwd.scalars import as_float, is_number
from mupwd.transfer.steady_state import ELAPSED

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from jaxtyping import Array, Integer


class Trainer:
    """Trains the proxy at one width under one plan; one compilation serves every run.

    Learning rate, decay and seed are arguments of the compiled program. The loop reads the metrics of one
    segment while the next one runs. `program`, `tokens` (the training text on the device, None where it is
    too large for that) and `evaluation_batches` are public, for who runs several trials in one program (see
    `mupwd.proxy.program`). With `train.sharding` all devices of all processes train together; every process then makes
    the same trainer and calls `run` with the same arguments.

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
      ValueError: the width does not fit the heads, the vocabularies differ, or the devices do not divide the batch.
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
            self.plan = family(self.proxy, base).plan(width, recipe=recipe, form=self.proxy.form)
        else:
            self.plan = plan
        self.program = Program(width, self.proxy, self.train, self.plan)
        self._progress = progress
        self._init = jax.jit(self.program.init)
        self._segment = jax.jit(self.program.segment, donate_argnums=0)
        self._evaluate = jax.jit(self.program.evaluate)
        batches = evaluation_batches(
            self.corpus, self.train.eval_batches, self.train.batch_size, self.train.sequence_length
        )
        self.evaluation_batches = self.program.layout.place_rows(batches, axis=1)
        self.tokens = device_tokens(self.corpus, self.program.layout)

    def run(
        self,
        learning_rate: float,
        weight_decay: float,
        seed: int,
        directory: str | Path | None = None,
        *,
        sinks: Sequence[Sink] = (),
    ) -> dict[str, Any]:
        """Trains, or goes on where an earlier call with this directory was interrupted, to the same losses.

        Args:
          learning_rate: the base's peak; the plan scales it.
          weight_decay: the base's: per unit of learning rate (`decay="coupled"`) or per step at the peak
            (`"independent"`).
          seed: of the initial values and of the data, in [0, 2**32).
          directory: for manifest.json, plan.json, metrics.jsonl, checkpoints/ and result.json; None: nothing
            is written. Several processes must share it: process 0 writes, but of checkpoints each its part.
          sinks: what else is given the records of metrics.jsonl, in the background, from the step on that the run goes
            on from: `mupwd.report.sinks.TensorBoard`, CLU's metric writers, `wandb.log`, ...; see
            `mupwd.proxy.metric_sinks`. They are told of nothing that had finished before.

        Returns:
          "status": "finished" or "diverged"; "step": finished steps, or the first one whose loss was not
          finite or too high; "train/loss" and "eval/loss": the last ones, in nats per token (NaN for the
          latter after a divergence); "train/tokens_per_second": of this process, NaN where it ran too few
          steps to tell; "train/decay_elapsed": the sum over the steps of what each decays by, at the base (a
          parameter's own is that times its plan's `lr * wd`): how often the decay's timescale went by. With
          `observe_every`: the last "spectral/..." and "gain/..." observations, and, for `sigma_1` and gains,
          their means over the observations of the last quarter of the steps, "..._last_quarter".

        Raises:
          ValueError: a value is out of range, the directory holds another run, processes differ in what they
            are to run, or a sink is not one.
          OSError: the disk is full.
        """
        _check_hyper(learning_rate, weight_decay, seed)
        learning_rate, weight_decay = (
            float(learning_rate),
            float(weight_decay),
        )  # of numpy's, as JSON has them
        run = partial(self._manifest, learning_rate, weight_decay, seed)
        # Processes that differ, if only in the text on their disk, would train on without a word.
        check_same("the run", lambda: {**run(), "versions": environment()["versions"]})
        layout = self.program.layout
        hyper: Hyper = jax.tree.map(
            lambda value: layout.place_whole(np.asarray(value)), Hyper.of(learning_rate, weight_decay, seed)
        )
        with (
            BackgroundSinks(sinks if is_first() else ()) as background,
            RunFiles(directory, run, self.plan, self.train) as files,
        ):
            if files.result is not None:
                return files.result
            state = None
            if files.checkpoints is not None:
                like = self.program.laid_out(jax.eval_shape(self.program.init, hyper))
                state = files.checkpoints.restore(like)
            state = self._init(hyper) if state is None else state
            done = int(state.step)
            earlier = files.open_log(done)
            with self._progress_bar(done) as progress:
                found = self._train(hyper, state, seed, files, background, progress, earlier)
            return files.end(self.with_decay(found, learning_rate, weight_decay))

    def _train(
        self,
        hyper: Hyper,
        state: Any,
        seed: int,
        files: RunFiles,
        sinks: BackgroundSinks,
        progress: RunProgress,
        earlier: list[dict[str, Any]],
    ) -> dict[str, Any]:
        highest_loss = self.train.diverged_factor * math.log(self.proxy.vocab_size)
        recorder = Recorder(self.train, highest_loss, files.log, sinks, progress, earlier)
        step, running = int(state.step), None
        while step < self.train.last_step and recorder.diverged_at is None:
            stop = self._next_stop(step)
            data = self.data(seed, step, stop)
            state, metrics = self._segment(state, hyper, data, np.int32(stop - step))
            evaluation = None
            if stop == self.train.last_step or _divides(self.train.eval_every, stop):
                evaluation = self._evaluate(state.params, self.evaluation_batches)
            if running is not None:
                recorder.read(running)
            step, running = stop, Segment(step, stop, metrics, evaluation)
            if files.checkpoints is not None and (
                step == self.train.last_step or _divides(self.train.checkpoint_every, step)
            ):
                if recorder.diverged_at is None:
                    recorder.read(running)
                running = None
                if recorder.diverged_at is None:
                    # First the log: a resumed run has no other way to know what came before its checkpoint.
                    if files.log is not None:
                        files.log.flush()
                    files.checkpoints.save(step, state)
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
        return {**result, ELAPSED: float(rate * self._elapsed[result["step"]])}

    @cached_property
    def _elapsed(self) -> np.ndarray:
        return elapsed_shape(self.train)

    def _next_stop(self, step: int) -> int:
        """The next step at which the host has something to do."""
        intervals = (self.train.log_every, self.train.eval_every, self.train.checkpoint_every)
        return min(
            self.train.last_step, *(step - step % every + every for every in intervals if every is not None)
        )

    def data(self, seed: int, step: int, stop: int) -> Integer[Array, " N"] | Integer[Array, "S B T+1"]:
        """Returns what `program.segment` reads: the text where it is on the device, else the batches of these steps.

        Args:
          seed: of the run.
          step: the first.
          stop: the one after the last, at most `program.segment_steps` further.
        """
        if self.tokens is not None:
            return self.tokens
        B, T = self.train.batch_size, self.train.sequence_length
        batches = np.zeros((self.program.segment_steps, B, T + 1), np.int32)
        for i in range(stop - step):
            batches[i] = self.corpus.batch(seed, step + i, B, T)
        return self.program.layout.place_rows(batches, axis=1)

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
        shown = self._progress if is_first() else False
        return RunProgress(f"width {self.width}", self.train.last_step, done, shown)

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
_TOKENS: weakref.WeakKeyDictionary[Corpus, dict[Mesh | None, Array]] = weakref.WeakKeyDictionary()


def device_tokens(corpus: Corpus | StreamedCorpus, layout: Layout) -> Array | None:
    """The training text, whole on every device; None where it is too large for memory."""
    if not isinstance(corpus, Corpus) or isinstance(corpus.train, np.memmap):
        return None
    places = _TOKENS.setdefault(corpus, {})
    if layout.mesh not in places:
        places[layout.mesh] = layout.place_whole(corpus.train)
    return places[layout.mesh]


def _divides(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0


def _check_hyper(learning_rate: Any, weight_decay: Any, seed: Any) -> None:
    for name, value, lowest in (
        ("learning_rate", learning_rate, "above 0"),
        ("weight_decay", weight_decay, "0 or more"),
    ):
        known = as_float(value) if is_number(value) else math.nan
        if not 0 <= known < math.inf or (known == 0 and name == "learning_rate"):
            raise ValueError(f"{name} must be a finite number, {lowest}; got {value!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be an integer in [0, 2**32), got {seed!r}")
