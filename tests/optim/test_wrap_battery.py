"""`mupwd.wrap` in every framework, inside everything that wraps an optax transform: with Muon, which splits parameters
into two groups and needs to know their axes and shapes at every step."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import battery, toys
from optax.contrib import MuonDimensionNumbers

import mupwd


class Reference:
    """optax's own on each parameter alone: orthogonalised steps times the base's shape and sqrt(m_out / m_in)."""

    def __init__(self, plan, **arguments):
        self.plan, self.arguments, self.states = plan, arguments, {}

    def step(self, params, gradients):
        return {name: self.moved(name, params[name], g) for name, g in gradients.items()}

    def moved(self, name, w, g):
        one, given = self.plan[name], self.arguments
        inside = one.role == "matrix"
        if inside:
            axes = MuonDimensionNumbers(one.in_axes, one.out_axes)
            tx = optax.contrib.scale_by_muon(weight_dimension_numbers=lambda _: {"w": axes}, ns_steps=2)
            fans = [math.prod(one.base_shape[i] for i in part) for part in axes]
            rate = max(1, fans[1] / fans[0]) ** 0.5 * one.lr * (one.m_in * one.m_out) ** 0.5
            g = g / (one.gradient_size * (one.m_in * one.m_out) ** 0.5)
        else:
            tx, rate = optax.scale_by_adam(nesterov=True, eps=1e-8 * one.eps), one.lr
        tree, g = {"w": jnp.asarray(w, jnp.float32)}, {"w": jnp.asarray(g, jnp.float32)}
        with jax.numpy_dtype_promotion("standard"):
            updates, self.states[name] = tx.update(g, self.states.get(name) or tx.init(tree), tree)
        decay = given["weight_decay"] * (one.wd != 0) * w if inside else 0.0
        return w - given["learning_rate"] * (rate * np.asarray(updates["w"], np.float64) + decay)


def muon(plan, learning_rate, weight_decay):
    return mupwd.wrap(optax.contrib.muon, plan)(learning_rate, weight_decay=weight_decay, ns_steps=2)


SUBJECT = battery.Subject(muon, {"learning_rate": 1e-2, "weight_decay": 0.3}, Reference, tolerance=1e-4)


@functools.cache
def toy(framework):
    return toys.FRAMEWORKS[framework]()


@pytest.mark.parametrize("check", battery.CHECKS)
@pytest.mark.parametrize("framework", toys.FRAMEWORKS)
def test_battery(framework, check, tmp_path: Path):
    battery.CHECKS[check](toy(framework), SUBJECT, tmp_path)
