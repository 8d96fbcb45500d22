"""haiku: 1-D convolutions, inside a module with a slash in its name, and positions added as a table."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

LENGTH = 16


class Tower(hk.Module):
    def __init__(self, width):
        super().__init__(name="tower")
        self.width = width

    def __call__(self, x_BxTxD):
        y = jax.nn.relu(hk.Conv1D(2 * self.width, 3, name="wide")(x_BxTxD))
        y = hk.DepthwiseConv1D(1, 3, name="depthwise")(y)
        return x_BxTxD + hk.Conv1D(self.width, 1, with_bias=False, name="back")(y)


def network(width):
    def forward(x_BxTx4):
        x = hk.Conv1D(width, 5, with_bias=False, name="stem")(x_BxTx4)
        positions = hk.get_parameter("positions", (LENGTH, width), init=jnp.zeros)
        x = Tower(width)(x + positions[None, :, :])
        return hk.Linear(2, with_bias=False, name="head")(jnp.max(x, axis=1))

    return hk.without_apply_rng(hk.transform(forward))


def build(width):
    transformed = network(width)
    return transformed.apply, transformed.init(jax.random.key(0), *inputs)


inputs = (np.zeros((2, LENGTH, 4), np.float32),)

ROLES = {
    "stem/w": "input",
    "~/positions": "input",
    "tower%2Fwide/w": "matrix",
    "tower%2Fwide/b": "vector",
    "tower%2Fdepthwise/w": "vector",
    "tower%2Fdepthwise/b": "vector",
    "tower%2Fback/w": "matrix",
    "head/w": "output",
}
AXES = {
    "stem/w": ("in", "in", "out"),
    "~/positions": ("elementwise", "elementwise"),
    "tower%2Fwide/w": ("in", "in", "out"),
    "tower%2Fwide/b": ("elementwise",),
    "tower%2Fdepthwise/w": ("in", "in", "elementwise"),
    "tower%2Fdepthwise/b": ("elementwise",),
    "tower%2Fback/w": ("in", "in", "out"),
    "head/w": ("in", "out"),
}
