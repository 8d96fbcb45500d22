"""Trials whose losses are known: a parabola per width with noise, and no model."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mupwd.transfer import Observation

BEST_RATE, BEST_DECAY = -5.2, -2.4


def best_rate(recipe: str, width: int) -> float:
    """log2 of the best learning rate: fixed under "stays", one octave per doubling under any other name."""
    return BEST_RATE - (0.0 if recipe == "stays" else math.log2(width / 32))


def train(
    width: int, hyperparameters: Mapping[str, Any], seed: int, directory: Path | None
) -> dict[str, Any]:
    """Returns the loss of one trial; noise is a function of the configuration, as it is in a real one.

    One that is stopped is worse than at its end, and its best learning rate lies `early` octaves lower at step 0.
    """
    log, pause = os.environ.get("SYNTHETIC_LOG"), float(os.environ.get("SYNTHETIC_SECONDS", "0"))
    time.sleep(pause)
    values = dict(hyperparameters)
    rate, decay = values["learning_rate"], values["weight_decay"]
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{width} {values['recipe']} {rate!r} {decay!r} {seed}\n")
    if values.get("fails") and rate == values["fails"]:
        raise ArithmeticError("a trial that fails")
    x, y = math.log2(rate) - best_rate(values["recipe"], width), math.log2(decay) - BEST_DECAY
    rest = 1 - values["stop_at"] / values["steps"] if "stop_at" in values else 0.0
    x += rest * values.get("early", 0.0)
    if x > 2.5:
        return {"status": "diverged", "eval/loss": math.nan}
    key = hashlib.sha256(repr((width, sorted(values.items()), seed)).encode()).digest()
    noise = np.random.default_rng(list(key)).normal() * values.get("noise", 0.003)
    shared = 0.02 * np.random.default_rng(seed).normal()
    loss = 2.0 + rest - 0.1 * math.log2(width / 32) + 0.03 * x**2 + 0.008 * y**2 + shared + noise
    return {"status": "finished", "eval/loss": loss}


def observation(
    recipe: str, width: int, rate: float, decay: float, seed: int, noise: float = 0.003
) -> Observation:
    """Returns a trial's observation."""
    values = {"recipe": recipe, "learning_rate": rate, "weight_decay": decay, "noise": noise}
    return Observation(recipe, width, rate, decay, seed, train(width, values, seed, None)["eval/loss"])
