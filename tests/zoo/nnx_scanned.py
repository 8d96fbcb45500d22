"""nnx: residual blocks created by vmap and run by scan, the layer axis first, rematerialised."""

import jax
import numpy as np
from flax import nnx


class Block(nnx.Module):
    def __init__(self, width, rngs):
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x):
        return x + self.down(jax.nn.gelu(self.up(self.norm(x))))


class Stack(nnx.Module):
    def __init__(self, width, rngs):
        @nnx.split_rngs(splits=3)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def create(rngs):
            return Block(width, rngs)

        self.first = nnx.Linear(7, width, rngs=rngs)
        self.blocks = create(rngs)
        self.readout = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, x):
        @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        @nnx.remat
        def run(block, x):
            return block(x)

        return self.readout(run(self.blocks, self.first(x)))


def build(width):
    return Stack(width, nnx.Rngs(0))


inputs = (np.zeros((4, 7), np.float32),)

ROLES = {
    "first/kernel": "input",
    "first/bias": "vector",
    "blocks/norm/scale": "vector",
    "blocks/norm/bias": "vector",
    "blocks/up/kernel": "matrix",
    "blocks/up/bias": "vector",
    "blocks/down/kernel": "matrix",
    "blocks/down/bias": "vector",
    "readout/kernel": "output",
    "readout/bias": "scalar",
}
AXES = {
    "first/kernel": ("in", "out"),
    "first/bias": ("elementwise",),
    "blocks/norm/scale": ("stack", "elementwise"),
    "blocks/norm/bias": ("stack", "elementwise"),
    "blocks/up/kernel": ("stack", "in", "out"),
    "blocks/up/bias": ("stack", "elementwise"),
    "blocks/down/kernel": ("stack", "in", "out"),
    "blocks/down/bias": ("stack", "elementwise"),
    "readout/kernel": ("in", "out"),
    "readout/bias": ("elementwise",),
}
