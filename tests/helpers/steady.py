"""Trials that reach a planted steady state, and no training."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

import mupwd

HYPERPARAMETERS = {"learning_rate": 2**-6, "weight_decay": 1.0, "steps": 2000}
# The constant of each kind of layer, which the check must not depend on.
KINDS = {"layers/*/down": 0.4, "layers/*/up": 3.0}


def family():
    """A residual network of two layers of two matrices, read at base 32."""

    def build(width):
        def model(params, x):
            x = x @ params["embed"]
            for layer in params["layers"]:
                x = x + jax.nn.relu(x @ layer["up"]) @ layer["down"]
            return x @ params["readout"]

        layer = {"up": jnp.ones((width, 4 * width)), "down": jnp.ones((4 * width, width))}
        return model, {
            "embed": jnp.ones((3, width)),
            "layers": [layer, layer],
            "readout": jnp.ones((width, 2)),
        }

    return mupwd.family(build, base=32, inputs=(jnp.ones((5, 3)),))


def trials(
    family: mupwd.Family,
    e: float | Mapping[str, float] = 0.75,
    a: float = 0.5,
    b: float = -0.5,
    noise: float = 0.01,
    decay: float | None = None,
    gain: float = 0.0,
    metrics=lambda width, seed, metrics: metrics,
):
    """Returns `train`: sigma ∝ lr**a * wd**b * m**e in every layer.

    Args:
      family: whose plans give the parameters' own learning rate and decay.
      e: for all, or per kind of layer.
      a: of the learning rate.
      b: of the decay.
      noise: in octaves, of each layer.
      decay: power of m that the decay really follows, whatever the plan says: a planted mistake.
      gain: power of m that the gains follow.
      metrics: changes what a trial returns.
    """

    def train(width, hyperparameters, seed, directory):
        assert directory is None
        plan = family.plan(width, recipe=hyperparameters["recipe"], form="forward")
        lr, wd = hyperparameters["learning_rate"], hyperparameters["weight_decay"]
        rng = _rng(width, lr, wd, seed)
        found = {"status": "finished", "step": hyperparameters["steps"], "eval/loss": 2.0}
        found["train/decay_elapsed"] = lr * wd * hyperparameters["steps"]
        for path, one in plan.items():
            if one.role != "matrix":
                continue
            kind = path.replace("/0/", "/*/").replace("/1/", "/*/")
            own_decay = wd * (one.wd if decay is None else one.m_in**decay)
            power = e if isinstance(e, float) else e[kind]
            sigma = (
                KINDS[kind]
                * (lr * one.lr) ** a
                * own_decay**b
                * one.m_in**power
                * 2 ** (noise * rng.normal())
            )
            fan_in, fan_out = one.shape
            found[f"spectral/{path}/sigma_1"] = 100.0  # of the last step only: not to be used
            found[f"spectral/{path}/sigma_1_last_quarter"] = sigma / math.sqrt(fan_in / fan_out)
        for layer in (0, 1):
            found[f"gain/layers/{layer}/mlp"] = (width / 32) ** gain * 2 ** (noise * rng.normal())
        return metrics(width, seed, found)

    return train


def _rng(*of: float) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(repr(of).encode()).digest()))
