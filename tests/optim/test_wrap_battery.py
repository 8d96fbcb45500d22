"""`mupwd.wrap` in every framework, inside everything that wraps an optax transform, each with one of two optimizers.

They are SGD with momentum, and Muon, which splits parameters into two groups and needs to know their axes and shapes.
"""

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


class OfEach:
    """optax's own on each parameter alone, with that parameter's numbers."""

    def __init__(self, plan, **arguments):
        self.plan, self.arguments, self.states = plan, arguments, {}

    def step(self, params, gradients):
        return {name: self.moved(name, params[name], g) for name, g in gradients.items()}


class Momentum(OfEach):
    """At the plan's learning rate, with gradients in the base's units."""

    def moved(self, name, w, g):
        one = self.plan[name]
        tx = optax.sgd(self.arguments["learning_rate"] * one.lr, momentum=0.9)
        g = jnp.asarray(g / one.gradient_size, jnp.float32)
        update, self.states[name] = tx.update(g, self.states.get(name) or tx.init(g))
        return w + np.asarray(update, np.float64)


class Muon(OfEach):
    """Orthogonalised steps times the base's shape and sqrt(m_out / m_in)."""

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


def momentum(plan, learning_rate):
    return mupwd.wrap(optax.sgd, plan)(learning_rate, momentum=0.9)


SUBJECTS = (
    battery.Subject(muon, {"learning_rate": 1e-2, "weight_decay": 0.3}, Muon, tolerance=1e-4),
    battery.Subject(momentum, {"learning_rate": 1e-2}, Momentum),
)
CASES = [
    (framework, check, SUBJECTS[(i + j) % 2])
    for i, framework in enumerate(toys.FRAMEWORKS)
    for j, check in enumerate(battery.CHECKS)
]


@functools.cache
def toy(framework):
    return toys.FRAMEWORKS[framework]()


@pytest.mark.parametrize(
    ("framework", "check", "subject"), CASES, ids=[f"{f}-{c}-{s.factory.__name__}" for f, c, s in CASES]
)
def test_battery(framework, check, subject, tmp_path: Path):
    battery.CHECKS[check](toy(framework), subject, tmp_path)
