"""nnx: convolutions in 2-D: dense, depthwise, pointwise, grouped and transposed, with a gate per channel."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

GROUPS = 4


class ConvNet(nnx.Module):
    def __init__(self, width, rngs):
        self.stem = nnx.Conv(3, width, (3, 3), rngs=rngs)
        self.depthwise = nnx.Conv(width, width, (3, 3), feature_group_count=width, use_bias=False, rngs=rngs)
        self.pointwise = nnx.Conv(width, 2 * width, (1, 1), use_bias=False, rngs=rngs)
        self.grouped = nnx.Conv(
            2 * width, width, (3, 3), feature_group_count=GROUPS, use_bias=False, rngs=rngs
        )
        self.norm = nnx.GroupNorm(width, num_groups=GROUPS, rngs=rngs)
        self.gate = nnx.Param(jnp.ones((width,)))
        self.upsample = nnx.ConvTranspose(width, width, (2, 2), strides=(2, 2), rngs=rngs)
        self.readout = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x_BxHxWx3):
        x = jax.nn.relu(self.stem(x_BxHxWx3))
        y = self.grouped(jax.nn.relu(self.pointwise(self.depthwise(x))))
        x = x + self.norm(y) * self.gate[...].reshape(1, 1, 1, -1)
        x = jax.nn.relu(self.upsample(x))
        return self.readout(x.mean(axis=(1, 2)))


def build(width):
    return ConvNet(width, nnx.Rngs(0))


inputs = (np.zeros((2, 8, 8, 3), np.float32),)

ROLES = {
    "stem/kernel": "input",
    "stem/bias": "vector",
    # One filter per channel: nothing is summed over the width.
    "depthwise/kernel": "vector",
    "pointwise/kernel": "matrix",
    # The count of groups is fixed, the channels inside a group grow.
    "grouped/kernel": "matrix",
    "norm/scale": "vector",
    "norm/bias": "vector",
    "gate": "vector",
    "upsample/kernel": "matrix",
    "upsample/bias": "vector",
    "readout/kernel": "output",
    "readout/bias": "scalar",
}
AXES = {
    "stem/kernel": ("in", "in", "in", "out"),
    "stem/bias": ("elementwise",),
    "depthwise/kernel": ("in", "in", "in", "elementwise"),
    "pointwise/kernel": ("in", "in", "in", "out"),
    "grouped/kernel": ("in", "in", "in", "stack+out"),
    "norm/scale": ("elementwise",),
    "norm/bias": ("elementwise",),
    "gate": ("elementwise",),
    "upsample/kernel": ("in", "in", "in", "out"),
    "upsample/bias": ("elementwise",),
    "readout/kernel": ("in", "out"),
    "readout/bias": ("elementwise",),
}

PIECES = {"grouped/kernel": (1, 1, 1, 4)}
