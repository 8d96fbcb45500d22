"""nnx: a LLaMA: RMSNorm, RoPE, GQA with a fixed count of kv heads, SwiGLU, attention sinks, bfloat16 compute.

Query heads grow (head_dim is fixed), kv heads don't: their kernels are narrow.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

HEAD_DIM, KV_HEADS, VOCABULARY, LENGTH = 16, 2, 100, 8


def rotate(x_BxTxHxK):
    angles = np.arange(LENGTH)[:, None] / 10_000 ** (np.arange(HEAD_DIM // 2) / (HEAD_DIM // 2))[None, :]
    cos, sin = (jnp.asarray(f(angles)[None, :, None, :], x_BxTxHxK.dtype) for f in (np.cos, np.sin))
    a, b = jnp.split(x_BxTxHxK, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


class Block(nnx.Module):
    def __init__(self, width, rngs):
        linear = lambda fan_in, fan_out: nnx.Linear(  # noqa: E731
            fan_in, fan_out, use_bias=False, dtype=jnp.bfloat16, rngs=rngs
        )
        self.attention_norm = nnx.RMSNorm(width, rngs=rngs)
        self.q, self.o = linear(width, width), linear(width, width)
        self.k, self.v = linear(width, KV_HEADS * HEAD_DIM), linear(width, KV_HEADS * HEAD_DIM)
        self.q_norm = nnx.RMSNorm(HEAD_DIM, rngs=rngs)
        self.sinks = nnx.Param(jnp.zeros((width // HEAD_DIM,)))
        self.mlp_norm = nnx.RMSNorm(width, rngs=rngs)
        self.gate, self.up = linear(width, 3 * width), linear(width, 3 * width)
        self.down = linear(3 * width, width)

    def __call__(self, x_BxTxD):
        x_BxTxD = x_BxTxD + self.attend(self.attention_norm(x_BxTxD)).astype(jnp.float32)
        y_BxTxD = self.mlp_norm(x_BxTxD)
        y_BxTxD = self.down(jax.nn.silu(self.gate(y_BxTxD)) * self.up(y_BxTxD))
        return x_BxTxD + y_BxTxD.astype(jnp.float32)

    def attend(self, x_BxTxD):
        batch, length, width = x_BxTxD.shape
        q = self.q(x_BxTxD).reshape(batch, length, -1, HEAD_DIM)
        q = rotate(self.q_norm(q.astype(jnp.float32)).astype(jnp.bfloat16))
        k = rotate(self.k(x_BxTxD).reshape(batch, length, KV_HEADS, HEAD_DIM))
        v = self.v(x_BxTxD).reshape(batch, length, KV_HEADS, HEAD_DIM)
        q = q.reshape(batch, length, KV_HEADS, -1, HEAD_DIM)
        logits = jnp.einsum("btngk,bsnk->bngts", q, k) * HEAD_DIM**-0.5
        mask = np.tril(np.ones((1, 1, 1, length, length), bool))
        logits = jnp.where(mask, logits.astype(jnp.float32), -1e9)
        sinks = jnp.broadcast_to(self.sinks[...].reshape(1, KV_HEADS, -1, 1, 1), (*logits.shape[:-1], 1))
        weights = jax.nn.softmax(jnp.concatenate([logits, sinks], axis=-1), axis=-1)[..., :-1]
        mixed = jnp.einsum("bngts,bsnk->btngk", weights.astype(v.dtype), v)
        return self.o(mixed.reshape(batch, length, width))


class Llama(nnx.Module):
    def __init__(self, width, rngs):
        self.embedding = nnx.Embed(VOCABULARY, width, dtype=jnp.bfloat16, rngs=rngs)
        self.layers = nnx.List([Block(width, rngs) for _ in range(2)])
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, VOCABULARY, use_bias=False, rngs=rngs)

    def __call__(self, tokens_BxT):
        x_BxTxD = self.embedding(tokens_BxT).astype(jnp.float32)
        for layer in self.layers:
            x_BxTxD = layer(x_BxTxD)
        return self.head(self.norm(x_BxTxD))


def build(width):
    return Llama(width, nnx.Rngs(0))


inputs = (np.zeros((2, LENGTH), np.int32),)

ROLES = {
    "embedding/embedding": "input",
    "layers/0/attention_norm/scale": "vector",
    "layers/0/q/kernel": "matrix",
    "layers/0/k/kernel": "narrow",
    "layers/0/v/kernel": "narrow",
    "layers/0/o/kernel": "matrix",
    "layers/0/q_norm/scale": "scalar",
    "layers/0/sinks": "input",
    "layers/0/mlp_norm/scale": "vector",
    "layers/0/gate/kernel": "matrix",
    "layers/0/up/kernel": "matrix",
    "layers/0/down/kernel": "matrix",
    "layers/1/attention_norm/scale": "vector",
    "layers/1/q/kernel": "matrix",
    "layers/1/k/kernel": "narrow",
    "layers/1/v/kernel": "narrow",
    "layers/1/o/kernel": "matrix",
    "layers/1/q_norm/scale": "scalar",
    "layers/1/sinks": "input",
    "layers/1/mlp_norm/scale": "vector",
    "layers/1/gate/kernel": "matrix",
    "layers/1/up/kernel": "matrix",
    "layers/1/down/kernel": "matrix",
    "norm/scale": "vector",
    "head/kernel": "output",
}
AXES = {
    "embedding/embedding": ("lookup", "out"),
    "layers/0/attention_norm/scale": ("elementwise",),
    "layers/0/q/kernel": ("in", "out"),
    "layers/0/k/kernel": ("in", "out"),
    "layers/0/v/kernel": ("in", "out"),
    "layers/0/o/kernel": ("in", "out"),
    "layers/0/q_norm/scale": ("elementwise",),
    "layers/0/sinks": ("elementwise",),
    "layers/0/mlp_norm/scale": ("elementwise",),
    "layers/0/gate/kernel": ("in", "out"),
    "layers/0/up/kernel": ("in", "out"),
    "layers/0/down/kernel": ("in", "out"),
    "layers/1/attention_norm/scale": ("elementwise",),
    "layers/1/q/kernel": ("in", "out"),
    "layers/1/k/kernel": ("in", "out"),
    "layers/1/v/kernel": ("in", "out"),
    "layers/1/o/kernel": ("in", "out"),
    "layers/1/q_norm/scale": ("elementwise",),
    "layers/1/sinks": ("elementwise",),
    "layers/1/mlp_norm/scale": ("elementwise",),
    "layers/1/gate/kernel": ("in", "out"),
    "layers/1/up/kernel": ("in", "out"),
    "layers/1/down/kernel": ("in", "out"),
    "norm/scale": ("elementwise",),
    "head/kernel": ("in", "out"),
}
