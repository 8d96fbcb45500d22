"""The coordinate check of wrapped optimizers, one of each kind: it passes with the rule, and not without.

`scripts/optimizers_coordinates.py` checks every one that `mupwd.wrap` knows; some of those are marked slow here.
"""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

import mupwd

WIDTHS = (32, 64, 128)


def build(width, seed):
    def fn(params, x):
        return jax.nn.relu(jax.nn.relu(x @ params["in"]) @ params["hidden"]) @ params["out"]

    shapes = {"in": (3, width), "hidden": (width, width), "out": (width, 20)}
    keys = jax.random.split(jax.random.key(seed), 3)
    return fn, {
        name: jax.random.normal(key, shape) * shape[0] ** -0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def loss(outputs, targets):
    return jnp.mean((outputs - targets) ** 2)


def check(optimizer, seeds=4):
    x, targets = (jax.random.normal(jax.random.key(seed), (32, n)) for seed, n in ((0, 3), (1, 20)))
    family = mupwd.family(build, base=16, inputs=(x,))
    # Targets that are larger than the outputs, whose size falls with width at first and is a part of the gradient.
    targets = 4 * targets
    return mupwd.coordinate_check(
        family, (x, targets), loss, optimizer=optimizer, widths=WIDTHS, seeds=seeds, steps=1, progress=False
    )


@pytest.mark.parametrize(
    ("factory", "learning_rate", "arguments"),
    [
        (optax.sgd, 1e-2, {}),
        (optax.lion, 1e-3, {}),
        (optax.lamb, 1e-2, {}),
        (optax.contrib.muon, 1e-2, {}),
        (optax.contrib.muon, 1e-2, {"consistent_rms": 0.2}),
    ],
    ids=["sgd", "lion", "lamb", "muon", "muon with consistent_rms"],
)
def test_nothing_depends_on_width(factory, learning_rate, arguments):
    # The length of a gradient differs from seed to seed, a sign does not.
    seeds = 20 if factory is optax.sgd else 4
    found = check(lambda plan: mupwd.wrap(factory, plan)(learning_rate, **arguments), seeds)
    assert found.verdict == "pass", str(found)


def test_without_the_rule_it_does():
    with jax.numpy_dtype_promotion("standard"):
        found = check(lambda plan: optax.contrib.muon(1e-2, consistent_rms=0.2))
    assert "hidden" in found.failed, str(found)


@pytest.fixture
def script(monkeypatch):
    """The command that checks them all, as it is run: with JAX's own settings of promotion."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield importlib.import_module("optimizers_coordinates")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["rmsprop", "adagrad", "schedule_free_sgd", "rprop", "lars", "adafactor", "novograd", "madgrad"]
)
def test_the_command_tells_a_rule_from_none(script, name):
    rate = script.rate_of(name)
    found = script.check(name, rate, wrapped=True)
    assert found.verdict == "pass", str(found)
    assert script.check(name, rate, wrapped=False).failed
