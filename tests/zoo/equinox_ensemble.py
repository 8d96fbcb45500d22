"""equinox: experts by vmap over the weights of one MLP, all fed the same activations, mixed by a router."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

EXPERTS = 4


class Expert(eqx.Module):
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, width, key):
        up, down = jax.random.split(key)
        self.up = eqx.nn.Linear(width, 2 * width, key=up)
        self.down = eqx.nn.Linear(2 * width, width, key=down)

    def __call__(self, x_D):
        return self.down(jax.nn.relu(self.up(x_D)))


class Ensemble(eqx.Module):
    first: eqx.nn.Linear
    router: eqx.nn.Linear
    experts: Expert
    readout: eqx.nn.Linear

    def __init__(self, width, key):
        first, router, experts, readout = jax.random.split(key, 4)
        self.first = eqx.nn.Linear(9, width, key=first)
        self.router = eqx.nn.Linear(width, EXPERTS, use_bias=False, key=router)
        self.experts = jax.vmap(lambda key: Expert(width, key))(jax.random.split(experts, EXPERTS))
        self.readout = eqx.nn.Linear(width, 3, key=readout)

    def __call__(self, x_9):
        x_D = jax.nn.relu(self.first(x_9))
        weights_E = jax.nn.softmax(self.router(x_D))
        y_ExD = eqx.filter_vmap(lambda expert, x: expert(x), in_axes=(eqx.if_array(0), None))(
            self.experts, x_D
        )
        return self.readout(x_D + jnp.einsum("e,ed->d", weights_E, y_ExD))


def build(width):
    return Ensemble(width, jax.random.key(0))


def call(model, x_Bx9):
    return jax.vmap(model)(x_Bx9)


inputs = (np.zeros((4, 9), np.float32),)

ROLES = {
    "first/weight": "input",
    "first/bias": "vector",
    "router/weight": "narrow",
    "experts/up/weight": "matrix",
    "experts/up/bias": "vector",
    "experts/down/weight": "matrix",
    "experts/down/bias": "vector",
    "readout/weight": "output",
    "readout/bias": "scalar",
}
AXES = {
    "first/weight": ("out", "in"),
    "first/bias": ("elementwise",),
    "router/weight": ("out", "in"),
    # The copies of a shared input come out free; they don't grow, so they are copies.
    "experts/up/weight": ("stack", "out", "in"),
    "experts/up/bias": ("elementwise", "elementwise"),
    "experts/down/weight": ("stack", "out", "in"),
    "experts/down/bias": ("elementwise", "elementwise"),
    "readout/weight": ("out", "in"),
    "readout/bias": ("elementwise",),
}
