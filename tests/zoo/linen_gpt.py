"""linen: a GPT: tied embedding, looked-up positions, DenseGeneral to heads and back, remat."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

HEAD_DIM, VOCABULARY, LENGTH = 16, 100, 8


class Block(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x_BxTxD):
        y = nn.LayerNorm(name="norm_1")(x_BxTxD)
        heads = self.width // HEAD_DIM
        q, k, v = (nn.DenseGeneral((heads, HEAD_DIM), name=name)(y) for name in ("query", "key", "value"))
        y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        x_BxTxD = x_BxTxD + nn.DenseGeneral(self.width, axis=(-2, -1), name="out")(y)
        y = nn.LayerNorm(name="norm_2")(x_BxTxD)
        y = nn.Dense(self.width, name="down")(nn.gelu(nn.Dense(4 * self.width, name="up")(y)))
        return x_BxTxD + y


class GPT(nn.Module):
    width: int

    @nn.compact
    def __call__(self, tokens_BxT):
        embedding = nn.Embed(VOCABULARY, self.width, name="embedding")
        positions = nn.Embed(LENGTH, self.width, name="positions")
        x_BxTxD = embedding(tokens_BxT) + positions(jnp.arange(LENGTH)[None, :])
        remat = nn.remat(Block, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable)
        for index in range(2):
            x_BxTxD = remat(self.width, name=f"block_{index}")(x_BxTxD)
        x_BxTxD = nn.LayerNorm(use_bias=False, name="norm")(x_BxTxD)
        bias_V = self.param("logit_bias", nn.initializers.zeros, (VOCABULARY,))
        return embedding.attend(x_BxTxD) + bias_V[None, None, :]


def build(width):
    return GPT(width)


inputs = (np.zeros((2, LENGTH), np.int32),)

ROLES = {
    "embedding/embedding": "tied",
    "positions/embedding": "input",
    "block_0/norm_1/scale": "vector",
    "block_0/norm_1/bias": "vector",
    "block_0/query/kernel": "matrix",
    "block_0/query/bias": "vector",
    "block_0/key/kernel": "matrix",
    "block_0/key/bias": "vector",
    "block_0/value/kernel": "matrix",
    "block_0/value/bias": "vector",
    "block_0/out/kernel": "matrix",
    "block_0/out/bias": "vector",
    "block_0/norm_2/scale": "vector",
    "block_0/norm_2/bias": "vector",
    "block_0/up/kernel": "matrix",
    "block_0/up/bias": "vector",
    "block_0/down/kernel": "matrix",
    "block_0/down/bias": "vector",
    "block_1/norm_1/scale": "vector",
    "block_1/norm_1/bias": "vector",
    "block_1/query/kernel": "matrix",
    "block_1/query/bias": "vector",
    "block_1/key/kernel": "matrix",
    "block_1/key/bias": "vector",
    "block_1/value/kernel": "matrix",
    "block_1/value/bias": "vector",
    "block_1/out/kernel": "matrix",
    "block_1/out/bias": "vector",
    "block_1/norm_2/scale": "vector",
    "block_1/norm_2/bias": "vector",
    "block_1/up/kernel": "matrix",
    "block_1/up/bias": "vector",
    "block_1/down/kernel": "matrix",
    "block_1/down/bias": "vector",
    "norm/scale": "vector",
    "logit_bias": "scalar",
}
AXES = {
    "embedding/embedding": ("lookup", "out"),
    "positions/embedding": ("lookup", "elementwise"),
    "block_0/norm_1/scale": ("elementwise",),
    "block_0/norm_1/bias": ("elementwise",),
    "block_0/query/kernel": ("in", "out", "out"),
    "block_0/query/bias": ("elementwise", "elementwise"),
    "block_0/key/kernel": ("in", "out", "out"),
    "block_0/key/bias": ("elementwise", "elementwise"),
    "block_0/value/kernel": ("in", "out", "out"),
    "block_0/value/bias": ("elementwise", "elementwise"),
    "block_0/out/kernel": ("in", "in", "out"),
    "block_0/out/bias": ("elementwise",),
    "block_0/norm_2/scale": ("elementwise",),
    "block_0/norm_2/bias": ("elementwise",),
    "block_0/up/kernel": ("in", "out"),
    "block_0/up/bias": ("elementwise",),
    "block_0/down/kernel": ("in", "out"),
    "block_0/down/bias": ("elementwise",),
    "block_1/norm_1/scale": ("elementwise",),
    "block_1/norm_1/bias": ("elementwise",),
    "block_1/query/kernel": ("in", "out", "out"),
    "block_1/query/bias": ("elementwise", "elementwise"),
    "block_1/key/kernel": ("in", "out", "out"),
    "block_1/key/bias": ("elementwise", "elementwise"),
    "block_1/value/kernel": ("in", "out", "out"),
    "block_1/value/bias": ("elementwise", "elementwise"),
    "block_1/out/kernel": ("in", "in", "out"),
    "block_1/out/bias": ("elementwise",),
    "block_1/norm_2/scale": ("elementwise",),
    "block_1/norm_2/bias": ("elementwise",),
    "block_1/up/kernel": ("in", "out"),
    "block_1/up/bias": ("elementwise",),
    "block_1/down/kernel": ("in", "out"),
    "block_1/down/bias": ("elementwise",),
    "norm/scale": ("elementwise",),
    "logit_bias": ("elementwise",),
}
