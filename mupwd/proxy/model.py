"""A LLaMA-style decoder whose width is the only thing that grows.

The layout is what makes it fast on a CPU: tokens become rows of one `[B*T, d]` matrix before the first block,
so that every weight gradient contracts a single axis; attention is one batched product over
`[B*H, T, head_dim]`; layers are unrolled. Names carry shapes: B batch, T sequence, N = B*T tokens, D width,
H query heads, K key-value heads, G = H/K, C head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mupwd.proxy.config import ProxyConfig

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


class Kernel(nnx.Module):
    """A bias-free linear map, initialised with standard deviation 1/sqrt(fan_in)."""

    def __init__(self, fan_in: int, fan_out: int, dtype: str, rngs: nnx.Rngs):
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (fan_in, fan_out)) * fan_in**-0.5)
        self.dtype = dtype

    def __call__(self, x_NxI: Float[Array, "N I"]) -> Float[Array, "N O"]:
        return x_NxI @ self.kernel[...].astype(self.dtype)


class RMSNorm(nnx.Module):
    """Divides the last axis by its root mean square and multiplies by a gain."""

    def __init__(self, size: int, eps: float):
        self.scale = nnx.Param(jnp.ones((size,)))
        self.eps = eps

    def __call__(self, x: Float[Array, "*leading D"]) -> Float[Array, "*leading D"]:
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.eps)
        scale = self.scale[...].reshape((1,) * (x.ndim - 1) + (-1,))
        return (y * scale).astype(x.dtype)


class Attention(nnx.Module):
    """Causal self-attention with rotary embedding and grouped key-value heads."""

    def __init__(self, width: int, config: ProxyConfig, rngs: nnx.Rngs):
        self.config = config
        self.kv_heads = config.key_value_heads(width)
        self.groups = config.heads(width) // self.kv_heads
        kv_width = self.kv_heads * config.head_dim
        self.q = Kernel(width, width, config.dtype, rngs)
        self.k = Kernel(width, kv_width, config.dtype, rngs)
        self.v = Kernel(width, kv_width, config.dtype, rngs)
        self.o = Kernel(width, width, config.dtype, rngs)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
            self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def __call__(self, x_NxD: Float[Array, "N D"], length: int) -> Float[Array, "N D"]:
        T, K, G, C = length, self.kv_heads, self.groups, self.config.head_dim
        B = x_NxD.shape[0] // T
        q_BxHxTxC = self.q(x_NxD).reshape(B, T, K * G, C).swapaxes(1, 2)
        k_BxKxTxC = self.k(x_NxD).reshape(B, T, K, C).swapaxes(1, 2)
        v_BxKxTxC = self.v(x_NxD).reshape(B, T, K, C).swapaxes(1, 2)
        if self.config.qk_norm:
            q_BxHxTxC, k_BxKxTxC = self.q_norm(q_BxHxTxC), self.k_norm(k_BxKxTxC)
        q_BxHxTxC = rotate(q_BxHxTxC, self.config.rope_theta) * C**-0.5
        k_BxKxTxC = rotate(k_BxKxTxC, self.config.rope_theta)
        # The queries of one group meet the same keys: rows of one product instead of copies of the keys.
        q_BKxGTxC = q_BxHxTxC.reshape(B * K, G * T, C)
        k_BKxTxC, v_BKxTxC = k_BxKxTxC.reshape(B * K, T, C), v_BxKxTxC.reshape(B * K, T, C)
        logits_BKxGTxT = jnp.einsum("bqc,bkc->bqk", q_BKxGTxC, k_BKxTxC).astype(jnp.float32)
        mask_GTxT = np.tile(np.tri(T, dtype=bool), (G, 1))
        logits_BKxGTxT = jnp.where(mask_GTxT[None], logits_BKxGTxT, jnp.finfo(jnp.float32).min)
        weights_BKxGTxT = jax.nn.softmax(logits_BKxGTxT, axis=-1).astype(x_NxD.dtype)
        y_BKxGTxC = jnp.einsum("bqk,bkc->bqc", weights_BKxGTxT, v_BKxTxC)
        y_NxD = y_BKxGTxC.reshape(B, K * G, T, C).swapaxes(1, 2).reshape(B * T, K * G * C)
        return self.o(y_NxD)


def rotate(x_BxHxTxC: Float[Array, "B H T C"], theta: float) -> Float[Array, "B H T C"]:
    """Rotary position embedding of the half-split kind (GPT-NeoX, Hugging Face), at positions 0..T-1."""
    *_, T, C = x_BxHxTxC.shape
    frequency_c = theta ** (-np.arange(0, C, 2) / C)
    angle_Txc = np.arange(T)[:, None] * frequency_c[None]
    cos, sin = (jnp.asarray(f(angle_Txc)[None, None], x_BxHxTxC.dtype) for f in (np.cos, np.sin))
    first, second = x_BxHxTxC[..., : C // 2], x_BxHxTxC[..., C // 2 :]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class MLP(nnx.Module):
    """SwiGLU: `down(silu(gate(x)) * up(x))`."""

    def __init__(self, width: int, config: ProxyConfig, rngs: nnx.Rngs):
        hidden = config.hidden(width)
        self.gate = Kernel(width, hidden, config.dtype, rngs)
        self.up = Kernel(width, hidden, config.dtype, rngs)
        self.down = Kernel(hidden, width, config.dtype, rngs)

    def __call__(self, x_NxD: Float[Array, "N D"]) -> Float[Array, "N D"]:
        return self.down(jax.nn.silu(self.gate(x_NxD)) * self.up(x_NxD))


class Block(nnx.Module):
    """Pre-norm attention and MLP, each added to the residual stream."""

    def __init__(self, width: int, config: ProxyConfig, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(width, config.norm_eps)
        self.attention = Attention(width, config, rngs)
        self.mlp_norm = RMSNorm(width, config.norm_eps)
        self.mlp = MLP(width, config, rngs)

    def __call__(self, x_NxD: Float[Array, "N D"], length: int) -> Float[Array, "N D"]:
        x_NxD = x_NxD + self.attention(self.attention_norm(x_NxD), length)
        return x_NxD + self.mlp(self.mlp_norm(x_NxD))


class Llama(nnx.Module):
    """The proxy: maps `tokens[B, T]` to `logits[B, T, V]`, float32.

    Every kernel starts with standard deviation 1/sqrt(fan_in), the embedding with 1 (1/sqrt(width) where it
    is also the readout), gains with 1: the standard parametrisation, which a family's rule then corrects.

    Args:
      width: size of the residual stream; a multiple of `config.head_dim`.
      config: everything but the width.
      rngs: its `params` stream initialises the parameters.

    Raises:
      ValueError: the width does not fit the heads.

    Example:
      >>> model = Llama(32, ProxyConfig(), nnx.Rngs(0))
      >>> model(jnp.zeros((2, 8), jnp.int32)).shape
      (2, 8, 256)

    Source: Touvron et al., arXiv 2302.13971; grouped heads: Ainslie et al., arXiv 2305.13245.
    """

    def __init__(self, width: int, config: ProxyConfig, rngs: nnx.Rngs):
        self.config = config
        shape = (config.vocab_size, width)
        std = initial_std("embedding", shape, config.tied)
        self.embedding = nnx.Param(std * jax.random.normal(rngs.params(), shape))
        if config.scan:
            stacked_rngs = rngs.split(config.layers)
            self.layers: Any = nnx.vmap(lambda rngs: Block(width, config, rngs))(stacked_rngs)
        else:
            self.layers = nnx.List([Block(width, config, rngs) for _ in range(config.layers)])
        self.norm = RMSNorm(width, config.norm_eps)
        if not config.tied:
            self.readout = Kernel(width, config.vocab_size, config.dtype, rngs)

    def __call__(self, tokens_BxT: Int[Array, "B T"]) -> Float[Array, "B T V"]:
        B, T = tokens_BxT.shape
        x_NxD = self.embedding[...].astype(self.config.dtype)[tokens_BxT.reshape(B * T)]
        if self.config.scan:
            graphdef, stacked = nnx.split(self.layers)
            x_NxD, _ = jax.lax.scan(lambda x, block: (nnx.merge(graphdef, block)(x, T), None), x_NxD, stacked)
        else:
            for block in self.layers:
                x_NxD = block(x_NxD, T)
        x_NxD = self.norm(x_NxD)
        if self.config.tied:
            logits_NxV = x_NxD @ self.embedding[...].astype(self.config.dtype).T
        else:
            logits_NxV = self.readout(x_NxD)
        return logits_NxV.astype(jnp.float32).reshape(B, T, -1)


def initial_std(path: str, shape: tuple[int, ...], tied: bool) -> float:
    """Returns the standard deviation that `Llama` itself gives a parameter; for gains, their value.

    Args:
      path: its canonical name.
      shape: its shape, with the layer axis first where layers are scanned.
      tied: of the configuration.

    Example:
      >>> initial_std("layers/0/mlp/up/kernel", (64, 192), tied=False)
      0.125
    """
    if path.endswith("kernel"):
        return shape[-2] ** -0.5
    if path == "embedding" and tied:
        return shape[-1] ** -0.5
    return 1.0


def next_token_loss(logits_BxTxV: Float[Array, "B T V"], targets_BxT: Int[Array, "B T"]) -> Float[Array, ""]:
    """Returns the mean cross-entropy of the targets, in nats per token.

    Args:
      logits_BxTxV: float32 logits.
      targets_BxT: the token that follows each position.
    """
    V = logits_BxTxV.shape[-1]
    logits_NxV = logits_BxTxV.reshape(-1, V)
    targets_Nx1 = targets_BxT.reshape(-1, 1)
    picked_N = jnp.take_along_axis(logits_NxV, targets_Nx1, axis=-1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits_NxV, axis=-1) - picked_N)
