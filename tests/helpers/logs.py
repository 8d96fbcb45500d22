"""Directories of runs with logs as docs/metrics.md describes them, made without a model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

import mupwd
from helpers.synthetic import train
from mupwd.proxy.metrics_log import FILE_NAME, MetricsLog
from mupwd.sweep.trial import Result, Trial

WIDTHS = (32, 64, 128)
PATHS = (
    "layers/0/mlp/up/kernel",
    "layers/1/mlp/up/kernel",
    "layers/0/mlp/down/kernel",
    "layers/1/mlp/down/kernel",
)
STEPS, EVERY = 400, 20


def shapes(width: int) -> dict:
    """Returns two layers of an MLP."""
    kernels = {"up": jnp.zeros((width, 4 * width)), "down": jnp.zeros((4 * width, width))}
    return {
        "layers": {
            str(i): {"mlp": {name: {"kernel": one} for name, one in kernels.items()}} for i in range(2)
        }
    }


def save_plan(file: Path, width: int, base: int = 32) -> None:
    """Writes the plan of a width under mupwd's rule."""
    axes = dict.fromkeys(PATHS, "in out")
    mupwd.family_from_shapes(shapes(base), shapes(2 * base), axes=axes).plan(shapes(width)).save(file)


def observations(
    step: int, width: int, grows: float = 0.0, paths: tuple[str, ...] = PATHS
) -> dict[str, float]:
    """Returns what a tracker says at a step; `grows` is the power of width of the singular values."""
    found = {"gain/layers/0/mlp": 0.4 - 0.1 * math.exp(-step / 99), "gain/layers/1/mlp": 0.3}
    for index, path in enumerate(paths):
        factor = 0.5 if "up" in path else 2.0
        sigma = (2.0 - math.exp(-step / 80)) * (1 + 0.1 * index) * (width / 32) ** grows / factor
        values = {f"sigma_{rank}": sigma * 0.8 ** (rank - 1) for rank in range(1, 5)}
        values |= {"rms_operator_norm": sigma * factor, "err_1": 1e-4, "converged": 1.0, "passes": 4.0}
        values |= {"fro": 2.5 * sigma, "stable_rank": 6.25, "disagreements": 0.0}
        found |= {f"spectral/{path}/{name}": value for name, value in values.items()}
        angle = 0.02 * math.exp(-step / 200)
        found |= {f"update/{path}/angle": angle, f"update/{path}/weight_rms": 0.1 * sigma / width**0.5}
    return found


def write_log(
    directory: Path, width: int, steps: int = STEPS, every: int = EVERY, grows: float = 0.0
) -> None:
    """Writes the log of a run."""
    directory.mkdir(parents=True, exist_ok=True)
    with MetricsLog(directory / FILE_NAME) as log:
        for step in range(every, steps + 1, every):
            loss = 2.0 + 3.0 * math.exp(-step / 70)
            log.write(step, {"train/loss": loss, **observations(step, width, grows)}, time=0.0)


def write_run(
    directory: Path,
    width: int,
    recipe: str = "mupwd",
    about: Mapping[str, Any] | None = None,
    **values: float,
) -> None:
    """Writes a single run without a result: one that is still running; `about` is more that its manifest says."""
    write_log(directory, width, **values)
    run = {"width": width, "learning_rate": 2**-5, "weight_decay": 0.25, "seed": 0, "recipe": recipe}
    run |= about or {}
    (directory / "manifest.json").write_text(
        json.dumps({"schema": 1, "run": run, "environment": {"python": "3.11"}})
    )
    save_plan(directory / "plan.json", width)


def write_sweep(
    directory: Path,
    recipes: tuple[str, ...] = ("stays", "moves"),
    grows: float = 0.0,
    *,
    widths: tuple[int, ...] = WIDTHS,
    base: int = 32,
    seeds: tuple[int, ...] = (0, 1),
) -> None:
    """Writes a finished sweep; the runs at the pair that is best at the base have logs."""
    trials = directory / "trials"
    trials.mkdir(parents=True)
    environment = {"python": "3.11", "versions": {"jax": "0.10"}, "git_revision": None}
    corpus = {"source": "stdlib", "sha256": "ab" * 32}
    text = {"schema": 1, "run": {"study": "sweep", "corpus": corpus}, "environment": environment}
    (directory / "manifest.json").write_text(json.dumps(text))
    (directory / "sweep.json").write_text(json.dumps({"recipes": recipes}))
    for recipe in recipes:
        for width in widths:
            for rate in range(-9, -2):
                for decay in (-6, -4, -2, 0):
                    for seed in seeds:
                        given = {"learning_rate": 2.0**rate, "weight_decay": 2.0**decay, "recipe": recipe}
                        write_trial(trials, width, {**given, "base": base}, seed, grows)


def write_trial(
    trials: Path,
    width: int,
    given: Mapping[str, Any],
    seed: int,
    grows: float = 0.0,
    metrics: Mapping[str, Any] | None = None,
) -> Path:
    """Writes one finished trial and returns its file; it has a log at the pair that is best at the base.

    Its loss is that of `helpers.synthetic.train` unless metrics are given.
    """
    found = dict(metrics or train(width, {**given, "noise": 0.003}, seed, None))
    trial = Trial(width, {**given, "steps": STEPS, "batch_size": 4, "sequence_length": 8}, seed)
    if (given["learning_rate"], given["weight_decay"]) == (2**-5, 2**-2):
        folder = trials / trial.id
        write_log(folder, width, grows=grows)
        save_plan(folder / "plan.json", width, given["base"])
        last = observations(STEPS, width, grows)
        late = {
            f"{name}_last_quarter": value
            for name, value in last.items()
            if "sigma_1" in name or "gain" in name
        }
        found |= {**last, **late, "step": STEPS, "train/decay_elapsed": 20.0}
    file = trials / f"{trial.id}.json"
    file.write_text(json.dumps(Result(trial, found, seconds=1.0).as_json()))
    return file
