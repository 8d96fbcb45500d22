"""From 2 to 8 layers: what training moves keeps its size under completep, and does not under sp."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mupwd

WIDTH, DEPTHS, STEPS = 32, (2, 8), 4
KEY = jax.random.key(0)
X = jax.random.normal(jax.random.fold_in(KEY, 1), (64, 8))
Y = jnp.sin(X[:, :1] + X[:, 1:2])


def build(width, layers):
    def fn(params, x):
        x = x @ params["first"]

        def block(x, layer):
            h = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6)
            return x + jax.nn.relu(h @ layer["up"]) @ layer["down"], None

        x, _ = jax.lax.scan(block, x, params["layers"])
        return x @ params["head"], x

    shapes = {
        "first": (8, width),
        "layers": {"up": (layers, width, 2 * width), "down": (layers, 2 * width, width)},
        "head": (width, 1),
    }
    leaves, tree = jax.tree.flatten(shapes, is_leaf=lambda shape: isinstance(shape, tuple))
    keys = jax.random.split(KEY, len(leaves))
    params = [jax.random.normal(k, s) / s[-2] ** 0.5 for k, s in zip(keys, leaves, strict=True)]
    return fn, jax.tree.unflatten(tree, params)


def sizes(family, recipe, layers):
    """RMS of the stream at the start, and of its change and of the logits' after some steps."""
    fn, params = build(WIDTH, layers)
    plan = family.plan(params, recipe=recipe, form="forward", depth_ratio=layers / DEPTHS[0])
    applied = mupwd.apply_forward(fn, plan)
    tx = mupwd.adamw(1e-3, plan, weight_decay=0.0)

    @jax.jit
    def train(params):
        def step(carry, _):
            params, state = carry
            gradients = jax.grad(lambda p: jnp.mean(jnp.square(applied(p, X)[0] - Y)))(params)
            updates, state = tx.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), None

        trained = jax.lax.scan(step, (params, tx.init(params)), length=STEPS)[0][0]
        before, after = applied(params, X), applied(trained, X)
        return before[1], after[1] - before[1], after[0] - before[0]

    with jax.numpy_dtype_promotion("standard"):
        return [float(jnp.sqrt(jnp.mean(jnp.square(value)))) for value in train(params)]


@pytest.fixture(scope="module")
def ratios():
    """{recipe: sizes at 8 layers over those at 2}."""
    family = mupwd.family(lambda width: build(width, DEPTHS[0]), base=WIDTH, inputs=(X,))
    return {
        recipe: np.divide(*(sizes(family, recipe, layers) for layers in reversed(DEPTHS)))
        for recipe in ("completep", "completep(0.5)", "sp")
    }


def test_completep_keeps_the_size_of_activations_and_of_their_change(ratios):
    for recipe in ("completep", "completep(0.5)"):
        assert np.all((ratios[recipe] > 0.5) & (ratios[recipe] < 2.0)), ratios


def test_sp_moves_a_deep_model_further(ratios):
    assert ratios["sp"][0] > 1.4
    assert ratios["sp"][1] > 2.5
    assert np.all(ratios["sp"][1:] > 1.5 * ratios["completep"][1:])
