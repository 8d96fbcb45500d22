"""equinox: one-hot embedding, (out, in) weights, layer norms, a gate per channel; vmap over examples."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

VOCABULARY = 50


class Block(eqx.Module):
    norm: eqx.nn.LayerNorm
    up: eqx.nn.Linear
    down: eqx.nn.Linear
    gate: jax.Array

    def __init__(self, width, key):
        up, down = jax.random.split(key)
        self.norm = eqx.nn.LayerNorm(width)
        self.up = eqx.nn.Linear(width, 4 * width, key=up)
        self.down = eqx.nn.Linear(4 * width, width, use_bias=False, key=down)
        self.gate = jnp.ones((width,))

    def __call__(self, x_D):
        return x_D + self.gate * self.down(jax.nn.gelu(self.up(self.norm(x_D))))


class MLP(eqx.Module):
    embedding: jax.Array
    blocks: list[Block]
    readout: eqx.nn.Linear

    def __init__(self, width, key):
        embedding, readout, *blocks = jax.random.split(key, 4)
        self.embedding = jax.random.normal(embedding, (VOCABULARY, width))
        self.blocks = [Block(width, block) for block in blocks]
        self.readout = eqx.nn.Linear(width, VOCABULARY, key=readout)

    def __call__(self, token):
        x_D = jax.nn.one_hot(token, VOCABULARY) @ self.embedding
        for block in self.blocks:
            x_D = block(x_D)
        return self.readout(x_D)


def build(width):
    return MLP(width, jax.random.key(0))


def call(model, tokens_B):
    return jax.vmap(model)(tokens_B)


inputs = (np.zeros((4,), np.int32),)

ROLES = {
    "embedding": "input",
    "blocks/0/norm/weight": "vector",
    "blocks/0/norm/bias": "vector",
    "blocks/0/up/weight": "matrix",
    "blocks/0/up/bias": "vector",
    "blocks/0/down/weight": "matrix",
    "blocks/0/gate": "vector",
    "blocks/1/norm/weight": "vector",
    "blocks/1/norm/bias": "vector",
    "blocks/1/up/weight": "matrix",
    "blocks/1/up/bias": "vector",
    "blocks/1/down/weight": "matrix",
    "blocks/1/gate": "vector",
    "readout/weight": "output",
    "readout/bias": "scalar",
}
AXES = {
    "embedding": ("in", "out"),
    "blocks/0/norm/weight": ("elementwise",),
    "blocks/0/norm/bias": ("elementwise",),
    "blocks/0/up/weight": ("out", "in"),
    "blocks/0/up/bias": ("elementwise",),
    "blocks/0/down/weight": ("out", "in"),
    "blocks/0/gate": ("elementwise",),
    "blocks/1/norm/weight": ("elementwise",),
    "blocks/1/norm/bias": ("elementwise",),
    "blocks/1/up/weight": ("out", "in"),
    "blocks/1/up/bias": ("elementwise",),
    "blocks/1/down/weight": ("out", "in"),
    "blocks/1/gate": ("elementwise",),
    "readout/weight": ("out", "in"),
    "readout/bias": ("elementwise",),
}
