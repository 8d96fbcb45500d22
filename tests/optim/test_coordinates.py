"""The coordinate check of wrapped optimizers, one of each kind: it passes with the rule, and not without."""

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
