"""nnx: a dense MLP with biases, from pixels to classes."""

import jax
import numpy as np
from flax import nnx


class MLP(nnx.Module):
    def __init__(self, width, rngs):
        self.first = nnx.Linear(784, width, rngs=rngs)
        self.hidden = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(2)])
        self.readout = nnx.Linear(width, 10, rngs=rngs)
        self.temperature = nnx.Param(np.ones((), np.float32))

    def __call__(self, x):
        x = jax.nn.relu(self.first(x))
        for layer in self.hidden:
            x = jax.nn.relu(layer(x))
        return self.readout(x) * self.temperature


def build(width):
    return MLP(width, nnx.Rngs(0))


inputs = (np.zeros((4, 784), np.float32),)

ROLES = {
    "first/kernel": "input",
    "first/bias": "vector",
    "hidden/0/kernel": "matrix",
    "hidden/0/bias": "vector",
    "hidden/1/kernel": "matrix",
    "hidden/1/bias": "vector",
    "readout/kernel": "output",
    "readout/bias": "scalar",
    "temperature": "scalar",
}
AXES = {
    "first/kernel": ("in", "out"),
    "first/bias": ("elementwise",),
    "hidden/0/kernel": ("in", "out"),
    "hidden/0/bias": ("elementwise",),
    "hidden/1/kernel": ("in", "out"),
    "hidden/1/bias": ("elementwise",),
    "readout/kernel": ("in", "out"),
    "readout/bias": ("elementwise",),
    "temperature": (),
}
