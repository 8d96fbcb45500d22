"""A trial: a pure function of its configuration, and known by the hash of it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mupwd.proxy.metrics_log import encode
from mupwd.transfer import Observation

Metrics = dict[str, float | str]
Train = Callable[[int, Mapping[str, Any], int, Path | None], Metrics]
"""`train(width, hyperparameters, seed, directory) -> metrics`: runs one trial of any model.

`hyperparameters` is flat and holds at least `learning_rate` and `weight_decay`; `metrics` holds numbers and
words, and at least `LOSS`. A run that diverged returns a loss that is not finite; it does not raise.
"""

LOSS = "eval/loss"
_ID_LENGTH = 20
_NUMBERS = ("learning_rate", "weight_decay")


@dataclass(frozen=True, eq=False)
class Trial:
    """One point of a sweep.

    Args:
      width: of the model.
      hyperparameters: everything else that the result depends on, but for the seed: a flat mapping of names
        to numbers, strings, booleans or None, with `learning_rate` and `weight_decay` among them. `stop_at`, if it
        is there, ends the trial after so many of its `steps`, with the schedule of all of them.
      seed: of the initial values and of the order of the data.

    Raises:
      ValueError: a field is missing or out of its range; the message names it.

    Example:
      >>> one = Trial(32, {"learning_rate": 2**-6, "weight_decay": 0.1}, seed=0)
      >>> one.id == Trial(32, {"weight_decay": 0.1, "learning_rate": 2**-6}, seed=0).id
      True
    """

    width: int
    hyperparameters: Mapping[str, Any]
    seed: int

    def __post_init__(self) -> None:
        for name, lowest in (("width", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise ValueError(f"trial: {name} must be an integer of at least {lowest}, got {value!r}")
        values = dict(self.hyperparameters)
        check_hyperparameters("trial", values)
        for name in _NUMBERS:
            value = values.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(
                    f"trial: hyperparameter {name!r} must be a number of at least 0, got {value!r}"
                )
            # 1 and 1.0 are the same decay but not the same JSON.
            values[name] = float(value)
        if values.get("stop_at") is not None:
            _check_stop(values["stop_at"], values.get("steps"))
        object.__setattr__(self, "hyperparameters", values)

    @cached_property
    def id(self) -> str:
        """The first characters of the sha256 of the configuration: equal configurations, equal ids."""
        text = json.dumps(self.as_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]

    @cached_property
    def kind(self) -> tuple[Any, ...]:
        """All of the configuration but learning rate, decay and seed: one compilation serves a kind."""
        rest = [(name, value) for name, value in self.hyperparameters.items() if name not in _NUMBERS]
        return (self.width, *sorted(rest))

    @property
    def stop_at(self) -> int | None:
        """The step at which it is stopped; None where it runs to its end."""
        return self.hyperparameters.get("stop_at")

    @property
    def share(self) -> float:
        """The part of its steps that it runs."""
        return 1.0 if self.stop_at is None else self.stop_at / self.hyperparameters["steps"]

    def as_json(self) -> dict[str, Any]:
        """Returns the configuration as JSON types."""
        return {"width": self.width, "hyperparameters": dict(self.hyperparameters), "seed": self.seed}

    def __str__(self) -> str:
        values = self.hyperparameters
        recipe = f"{values['recipe']}, " if "recipe" in values else ""
        return (
            f"{recipe}width {self.width}, learning rate {values['learning_rate']:g}, "
            f"weight decay {values['weight_decay']:g}, seed {self.seed}"
            + (f", stopped at step {self.stop_at:,}" if self.stop_at is not None else "")
        )


@dataclass(frozen=True)
class Result:
    """A finished trial.

    Attributes:
      trial: its configuration.
      metrics: what it ended with; numbers are NaN or infinite where it diverged.
      seconds: of wall-clock time that it took.

    Raises:
      ValueError: the trial went on where it was to stop.
    """

    trial: Trial
    metrics: Metrics
    seconds: float

    def __post_init__(self) -> None:
        step, stop_at = self.metrics.get("step"), self.trial.stop_at
        if stop_at is not None and isinstance(step, int | float) and step > stop_at:
            raise ValueError(
                f"the trial was to end after {stop_at} steps and ran {step}: a train function must end, and evaluate, "
                "at hyperparameters['stop_at'] where it is given, with the schedule of all steps"
            )

    @property
    def loss(self) -> float:
        """Held-out loss in nats per token, at the step where it ended; infinite where the trial diverged."""
        loss = float(self.metrics[LOSS])
        return loss if math.isfinite(loss) else math.inf

    def observation(self) -> Observation:
        """Returns what the result says about its hyperparameters; of a trial that was stopped not its loss there."""
        values = self.trial.hyperparameters
        stopped = self.trial.stop_at is not None
        return Observation(
            values["recipe"],
            self.trial.width,
            values["learning_rate"],
            values["weight_decay"],
            self.trial.seed,
            math.inf if stopped else self.loss,
            stopped,
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the result as JSON types; numbers that are not finite as "nan", "inf" and "-inf"."""
        metrics = {
            name: encode(value) if isinstance(value, float) else value for name, value in self.metrics.items()
        }
        return {"id": self.trial.id, **self.trial.as_json(), "metrics": metrics, "seconds": self.seconds}

    @classmethod
    def from_json(cls, data: Any) -> Result:
        """Returns the result that `as_json` gave.

        Raises:
          ValueError: it is not one, or its id is not that of its configuration.
        """
        fields = {"id", "width", "hyperparameters", "seed", "metrics", "seconds"}
        if not isinstance(data, dict) or not fields <= data.keys():
            raise ValueError(f"expected an object with {', '.join(sorted(fields))}")
        if not isinstance(data["hyperparameters"], dict) or not isinstance(data["metrics"], dict):
            raise ValueError("hyperparameters and metrics must be objects")
        trial = Trial(data["width"], data["hyperparameters"], data["seed"])
        if trial.id != data["id"]:
            raise ValueError(f"its id is {data['id']!r}, but its configuration's is {trial.id!r}")
        if LOSS not in data["metrics"]:
            raise ValueError(f"its metrics lack {LOSS!r}")
        metrics = {name: _metric(name, value) for name, value in data["metrics"].items()}
        if isinstance(metrics[LOSS], str):
            raise ValueError(f"its {LOSS!r} is {metrics[LOSS]!r}, not a number")
        return cls(trial, metrics, float(data["seconds"]))


def check_hyperparameters(where: str, values: Mapping[str, Any]) -> None:
    """Refuses what a trial cannot be given.

    Args:
      where: the values come from, for messages.
      values: by name.

    Raises:
      ValueError: one is neither a finite number nor a string, a boolean or None; the message names it.
    """
    for name, value in values.items():
        if not isinstance(value, bool | int | float | str | None):
            raise ValueError(
                f"{where}: hyperparameter {name!r} must be a number, a string, a boolean or None, got {value!r}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{where}: hyperparameter {name!r} must be finite, got {value!r}")


def _check_stop(stop_at: Any, steps: Any) -> None:
    if any(isinstance(one, bool) or not isinstance(one, int) for one in (stop_at, steps)) or not (
        0 < stop_at < steps
    ):
        raise ValueError(
            f"trial: hyperparameter 'stop_at' must be a step from 1 to below steps={steps!r}, got {stop_at!r}"
        )


def _metric(name: str, value: Any) -> float | str:
    if isinstance(value, str):
        return float(value) if re.fullmatch("nan|-?inf", value) else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"its metric {name!r} is {value!r}, not a number or a word")
    return value
