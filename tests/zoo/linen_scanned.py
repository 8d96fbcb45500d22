"""linen: scan over layers with the layer axis second, qkv fused into one Dense and split, gains as 1 + g."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

HEAD_DIM, LENGTH, LAYERS = 16, 8, 3


class Block(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x_BxTxD, _):
        batch, length, width = x_BxTxD.shape
        # With the layer axis second, a gain needs a second axis.
        gain_1xD = self.param("gain", nn.initializers.zeros, (1, width))
        y = x_BxTxD * jax.lax.rsqrt(jnp.mean(x_BxTxD**2, axis=-1, keepdims=True) + 1e-6)
        y = y * (1 + gain_1xD[None, :, :])
        kernel = self.param("qkv", nn.initializers.lecun_normal(), (width, 3 * width))
        q, k, v = jnp.split(jnp.einsum("btd,df->btf", y, kernel), 3, axis=-1)
        q, k, v = (part.reshape(batch, length, -1, HEAD_DIM) for part in (q, k, v))
        y = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(batch, length, width)
        return x_BxTxD + nn.Dense(width, use_bias=False, name="out")(y), None


class Stack(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x_BxTx5):
        x_BxTxD = nn.Dense(self.width, use_bias=False, name="first")(x_BxTx5)
        block = nn.remat(Block, policy=jax.checkpoint_policies.nothing_saveable, prevent_cse=False)
        scanned = nn.scan(block, variable_axes={"params": 1}, split_rngs={"params": True}, length=LAYERS)
        x_BxTxD, _ = scanned(self.width, name="blocks")(x_BxTxD, None)
        return nn.Dense(1, name="readout")(x_BxTxD)


def build(width):
    return Stack(width)


inputs = (np.zeros((2, LENGTH, 5), np.float32),)

ROLES = {
    "first/kernel": "input",
    "blocks/gain": "vector",
    "blocks/qkv": "matrix",
    "blocks/out/kernel": "matrix",
    "readout/kernel": "output",
    "readout/bias": "scalar",
}
AXES = {
    "first/kernel": ("in", "out"),
    "blocks/gain": ("elementwise", "stack", "elementwise"),
    "blocks/qkv": ("in", "stack", "stack+out"),
    "blocks/out/kernel": ("in", "stack", "out"),
    "readout/kernel": ("in", "out"),
    "readout/bias": ("elementwise",),
}

PIECES = {"blocks/qkv": (1, 1, 3)}
