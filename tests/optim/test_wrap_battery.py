"""`mupwd.wrap` in every framework, inside everything that wraps an optax transform: each with one of two optimizers."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import battery, toys

import mupwd


class OfEach:
    """optax's own optimizer on each parameter alone, with that parameter's numbers."""

    def __init__(self, plan, **arguments):
        self.plan, self.arguments, self.states = plan, arguments, {}

    def step(self, params, gradients):
        return {name: self.moved(name, params[name], g) for name, g in gradients.items()}

    def moved(self, name, w, g):
        one, given = self.plan[name], self.arguments
        tx, unit = self.optimizer(one, given)
        tree, g = {"w": jnp.asarray(w, jnp.float32)}, {"w": jnp.asarray(g / unit, jnp.float32)}
        with jax.numpy_dtype_promotion("standard"):
            updates, self.states[name] = tx.update(g, self.states.get(name) or tx.init(tree), tree)
        return w + np.asarray(updates["w"], np.float64)


class Momentum(OfEach):
    def optimizer(self, one, given):
        return optax.sgd(given["learning_rate"] * one.lr, momentum=0.9), one.gradient_size


class Adamaxw(OfEach):
    def optimizer(self, one, given):
        rate, decay = given["learning_rate"] * one.lr, given["weight_decay"] * one.wd
        return optax.adamaxw(rate, weight_decay=decay), one.eps


def momentum(plan, learning_rate):
    return mupwd.wrap(optax.sgd, plan)(learning_rate, momentum=0.9)


def adamaxw(plan, learning_rate, weight_decay):
    return mupwd.wrap(optax.adamaxw, plan)(learning_rate, weight_decay=weight_decay)


SUBJECTS = (
    battery.Subject(momentum, {"learning_rate": 1e-2}, Momentum),
    battery.Subject(adamaxw, {"learning_rate": 1e-2, "weight_decay": 0.3}, Adamaxw),
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
