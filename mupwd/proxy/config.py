"""What a proxy and its training run are made of: everything but the width and the tuned values."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from mupwd.plan import Form

_MOST = 2**31 - 1
"""Steps are counted in int32, and no size of an array on a device is larger."""
_DTYPES = ("float32", "bfloat16")
_SCHEDULES = ("cosine", "wsd")
_SHARDINGS = ("none", "data", "full")


@dataclasses.dataclass(frozen=True)
class ProxyConfig:
    """The LLaMA-style model, at every width.

    Width is the one thing that is not here: heads are `width / head_dim`, the hidden size of the MLP is
    `mlp_ratio * width` (rounded up to a multiple of 8).

    Args:
      vocab_size: tokens; must be the corpus's.
      layers: blocks of attention and MLP.
      head_dim: size of one head, the same at every width; even, because rotary embedding rotates pairs.
      kv_groups: query heads that share a key-value head. Key-value heads then grow with width: `matrix`
        kernels.
      kv_heads: a number of key-value heads that is the same at every width (the LLaMA-3 family: `narrow`
        kernels). None: they follow from `kv_groups`.
      mlp_ratio: hidden size of the SwiGLU MLP over width. 3, not LLaMA's 8/3: small widths keep it exactly.
      qk_norm: RMSNorm with a gain on each head's queries and keys.
      tied: the readout is the embedding.
      scan: one stacked block scanned over layers: compiles in constant time in depth, runs slower on CPU.
      rope_theta: the base of the rotary frequencies.
      norm_eps: added to the mean square in RMSNorm.
      dtype: "float32" or "bfloat16", of activations and products; parameters are float32.

    Raises:
      ValueError: a field is out of its range; the message names it.

    Example:
      >>> proxy = ProxyConfig(layers=4, kv_heads=2)
      >>> proxy.heads(256), proxy.key_value_heads(256), proxy.hidden(256)
      (16, 2, 768)
    """

    vocab_size: int = 256
    layers: int = 2
    head_dim: int = 16
    kv_groups: int = 1
    kv_heads: int | None = None
    mlp_ratio: float = 3.0
    qk_norm: bool = False
    tied: bool = False
    scan: bool = False
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        _positive_integers(self, "vocab_size", "layers", "head_dim", "kv_groups")
        if self.kv_heads is not None:
            _positive_integers(self, "kv_heads")
            if self.kv_groups != 1:
                raise ValueError(
                    f"kv_heads={self.kv_heads} and kv_groups={self.kv_groups} are both given: kv_heads "
                    "fixes the number of key-value heads at every width, kv_groups lets it grow; give one"
                )
        if self.head_dim % 2:
            raise ValueError(
                f"head_dim must be even, because rotary embedding rotates pairs; got {self.head_dim}"
            )
        _positive_numbers(self, "mlp_ratio", "rope_theta", "norm_eps")
        _booleans(self, "qk_norm", "tied", "scan")
        _one_of(self, "dtype", _DTYPES)

    @property
    def form(self) -> Form:
        """The form that its plans have: a tied embedding has no folded one."""
        return "forward" if self.tied else "folded"

    def heads(self, width: int) -> int:
        """Returns the number of query heads at a width."""
        if isinstance(width, bool) or not isinstance(width, int) or width < 1 or width % self.head_dim:
            raise ValueError(
                f"width must be a positive multiple of head_dim={self.head_dim}, got {width!r}: a head has "
                "the same size at every width"
            )
        return width // self.head_dim

    def key_value_heads(self, width: int) -> int:
        """Returns the number of key-value heads at a width."""
        heads = self.heads(width)
        if self.kv_heads is None:
            if heads % self.kv_groups:
                raise ValueError(
                    f"width {width} has {heads} heads of {self.head_dim}, which kv_groups={self.kv_groups} "
                    f"does not divide; use a multiple of width {self.head_dim * self.kv_groups}"
                )
            return heads // self.kv_groups
        if heads % self.kv_heads:
            raise ValueError(
                f"width {width} has {heads} heads of {self.head_dim}, which kv_heads={self.kv_heads} does "
                f"not divide; use a multiple of width {self.head_dim * self.kv_heads}"
            )
        return self.kv_heads

    def hidden(self, width: int) -> int:
        """Returns the hidden size of the MLP at a width."""
        return 8 * math.ceil(self.mlp_ratio * width / 8)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run, but for its learning rate, weight decay and seed.

    Args:
      steps: optimizer steps.
      stop_at: end after so many steps of that schedule, evaluated there; None: at its end.
      batch_size: sequences in a step.
      sequence_length: tokens in a sequence (of inputs; the targets are the same shifted by one).
      schedule: "cosine": linear warmup, then a half cosine down to `final_fraction`. "wsd": linear warmup,
        constant, then linear decay over the last `decay_fraction` of the steps.
      warmup: steps of linear warmup from 0.
      final_fraction: the last learning rate over the peak one.
      decay_fraction: share of the steps that "wsd" decays in.
      clip: largest global norm of the gradient; None: no clipping.
      beta1, beta2, eps: AdamW's.
      decay: "coupled": a step decays by `lr_t * wd * w`. "independent": by `lr_t / lr_peak * wd * w`.
      log_every: steps between records in the metrics log.
      eval_every: steps between evaluations; None: only at the end.
      eval_batches: batches of the held-out text in one evaluation.
      observe_every: steps between observations of singular values and sublayer gains, at most a quarter of
        `steps`; None: none, at no cost.
      checkpoint_every: steps between checkpoints; None: only at the end.
      keep_checkpoints: how many of the latest checkpoints stay on disk.
      diverged_factor: a loss above this many times ln(vocab_size), or one that is not finite, ends the run as
        diverged.
      sharding: "none": one device. "data": all devices of all processes share each batch. "full": parameters and
        optimizer state as well.

    Raises:
      ValueError: a field is out of its range; the message names it.

    Example:
      >>> TrainConfig(steps=600, schedule="wsd", stop_at=200).last_step
      200
    """

    steps: int = 600
    batch_size: int = 16
    sequence_length: int = 64
    schedule: Literal["cosine", "wsd"] = "cosine"
    warmup: int = 60
    final_fraction: float = 0.1
    decay_fraction: float = 0.2
    clip: float | None = 1.0
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    decay: Literal["coupled", "independent"] = "coupled"
    log_every: int = 10
    eval_every: int | None = None
    eval_batches: int = 16
    observe_every: int | None = None
    checkpoint_every: int | None = None
    keep_checkpoints: int = 2
    diverged_factor: float = 3.0
    stop_at: int | None = None
    sharding: Literal["none", "data", "full"] = "none"

    def __post_init__(self) -> None:
        _positive_integers(
            self, "steps", "batch_size", "sequence_length", "log_every", "eval_batches", "keep_checkpoints"
        )
        for name in ("eval_every", "observe_every", "checkpoint_every", "stop_at"):
            if getattr(self, name) is not None:
                _positive_integers(self, name)
        if self.last_step > self.steps:
            raise ValueError(f"stop_at must be at most steps={self.steps}, got {self.stop_at}")
        if self.observe_every is not None and 4 * self.observe_every > self.steps:
            raise ValueError(
                f"observe_every must be at most a quarter of steps={self.steps}, so that the mean over the last "
                f"quarter has something to average; got {self.observe_every}"
            )
        _one_of(self, "schedule", _SCHEDULES)
        _one_of(self, "decay", ("coupled", "independent"))
        _one_of(self, "sharding", _SHARDINGS)
        if not _is_integer(self.warmup) or not 0 <= self.warmup < self.steps:
            raise ValueError(
                f"warmup must be at least 0 and less than steps={self.steps}, got {self.warmup!r}"
            )
        for name in ("final_fraction", "decay_fraction"):
            if not _is_number(getattr(self, name)) or not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)!r}")
        if self.schedule == "wsd" and self.warmup + self.decay_fraction * self.steps > self.steps:
            raise ValueError(
                f"warmup={self.warmup} and decay_fraction={self.decay_fraction} of steps={self.steps} "
                "overlap; make one of them smaller"
            )
        if self.clip is not None:
            _positive_numbers(self, "clip")
        for name in ("beta1", "beta2"):
            if not _is_number(getattr(self, name)) or not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and less than 1, got {getattr(self, name)!r}")
        _positive_numbers(self, "eps", "diverged_factor")

    @property
    def last_step(self) -> int:
        """The step that a run ends with."""
        return self.steps if self.stop_at is None else self.stop_at


_Config = TypeVar("_Config", ProxyConfig, TrainConfig)


def configured(kind: type[_Config], hyperparameters: Mapping[str, Any]) -> _Config:
    """Returns the configuration with those of a trial's hyperparameters that are its fields.

    Raises:
      ValueError: a field is out of its range; the message names it.

    Example:
      >>> configured(ProxyConfig, {"layers": 4, "steps": 100, "recipe": "mupwd"}).layers
      4
    """
    fields = (one.name for one in dataclasses.fields(kind))
    return kind(**{name: hyperparameters[name] for name in fields if name in hyperparameters})


def unknown_names(given: Iterable[str], known: Iterable[str], what: str) -> str | None:
    """Returns a message that names every unknown name with the nearest known ones, or None.

    Example:
      >>> unknown_names(["lr"], ["learning_rate", "steps"], "hyperparameter")
      "unknown hyperparameter 'lr'; known: learning_rate, steps"
    """
    known = sorted(known)
    lines = []
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
            lines.append(f"unknown {what} {name!r}; {hint}")
    return "\n".join(lines) or None


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive_integers(config: Any, *names: str) -> None:
    for name in names:
        if not _is_integer(getattr(config, name)) or getattr(config, name) < 1:
            raise ValueError(f"{name} must be a positive integer, got {getattr(config, name)!r}")
        if getattr(config, name) > _MOST:
            raise ValueError(f"{name} must be at most {_MOST:,}, got {getattr(config, name):,}")


def _positive_numbers(config: Any, *names: str) -> None:
    for name in names:
        if not _is_number(getattr(config, name)) or getattr(config, name) <= 0:
            raise ValueError(f"{name} must be a finite number above 0, got {getattr(config, name)!r}")


def _booleans(config: Any, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(config, name), bool):
            raise ValueError(f"{name} must be True or False, got {getattr(config, name)!r}")


def _one_of(config: Any, name: str, choices: tuple[str, ...]) -> None:
    if getattr(config, name) not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, choices))}; got {getattr(config, name)!r}"
        )
