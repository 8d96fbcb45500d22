"""nnx: a vision transformer: patches by convolution, a class token, positions added, multi-head attention."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

HEAD_DIM, PATCH, SIDE = 16, 4, 8
LENGTH = (SIDE // PATCH) ** 2 + 1


class Block(nnx.Module):
    def __init__(self, width, rngs):
        self.norm_1 = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            width // HEAD_DIM, width, use_bias=True, decode=False, rngs=rngs
        )
        self.norm_2 = nnx.LayerNorm(width, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x_BxTxD):
        x_BxTxD = x_BxTxD + self.attention(self.norm_1(x_BxTxD))
        return x_BxTxD + self.down(jax.nn.gelu(self.up(self.norm_2(x_BxTxD))))


class ViT(nnx.Module):
    def __init__(self, width, rngs):
        self.patches = nnx.Conv(3, width, (PATCH, PATCH), strides=(PATCH, PATCH), rngs=rngs)
        self.class_token = nnx.Param(jnp.zeros((1, 1, width)))
        self.positions = nnx.Param(jnp.zeros((1, LENGTH, width)))
        self.block = Block(width, rngs)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, images_BxHxWx3):
        batch = images_BxHxWx3.shape[0]
        x_BxTxD = self.patches(images_BxHxWx3).reshape(batch, LENGTH - 1, -1)
        token = jnp.broadcast_to(self.class_token[...], (batch, 1, x_BxTxD.shape[-1]))
        x_BxTxD = jnp.concatenate([token, x_BxTxD], axis=1) + self.positions[...]
        return self.head(self.norm(self.block(x_BxTxD))[:, 0])


def build(width):
    return ViT(width, nnx.Rngs(0))


inputs = (np.zeros((2, SIDE, SIDE, 3), np.float32),)

ROLES = {
    "patches/kernel": "input",
    "patches/bias": "vector",
    "class_token": "input",
    "positions": "input",
    "block/norm_1/scale": "vector",
    "block/norm_1/bias": "vector",
    "block/attention/query/kernel": "matrix",
    "block/attention/query/bias": "vector",
    "block/attention/key/kernel": "matrix",
    "block/attention/key/bias": "vector",
    "block/attention/value/kernel": "matrix",
    "block/attention/value/bias": "vector",
    "block/attention/out/kernel": "matrix",
    "block/attention/out/bias": "vector",
    "block/norm_2/scale": "vector",
    "block/up/kernel": "matrix",
    "block/up/bias": "vector",
    "block/down/kernel": "matrix",
    "block/down/bias": "vector",
    "norm/scale": "vector",
    "norm/bias": "vector",
    "head/kernel": "output",
    "head/bias": "scalar",
}
AXES = {
    "patches/kernel": ("in", "in", "in", "out"),
    "patches/bias": ("elementwise",),
    "class_token": ("elementwise", "elementwise", "elementwise"),
    "positions": ("elementwise", "elementwise", "elementwise"),
    "block/norm_1/scale": ("elementwise",),
    "block/norm_1/bias": ("elementwise",),
    "block/attention/query/kernel": ("in", "out", "out"),
    "block/attention/query/bias": ("elementwise", "elementwise"),
    "block/attention/key/kernel": ("in", "out", "out"),
    "block/attention/key/bias": ("elementwise", "elementwise"),
    "block/attention/value/kernel": ("in", "out", "out"),
    "block/attention/value/bias": ("elementwise", "elementwise"),
    "block/attention/out/kernel": ("in", "in", "out"),
    "block/attention/out/bias": ("elementwise",),
    "block/norm_2/scale": ("elementwise",),
    "block/up/kernel": ("in", "out"),
    "block/up/bias": ("elementwise",),
    "block/down/kernel": ("in", "out"),
    "block/down/bias": ("elementwise",),
    "norm/scale": ("elementwise",),
    "norm/bias": ("elementwise",),
    "head/kernel": ("in", "out"),
    "head/bias": ("elementwise",),
}
