"""Plain JAX: attention by low-rank factors (MLA), and one with a single kv head (MQA). Ranks are fixed."""

import jax
import jax.numpy as jnp
import numpy as np

HEAD_DIM, RANK, LENGTH, VOCABULARY = 16, 24, 8, 30


def rms_norm(x, gain):
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * gain[None, None, :]


def softmax_mix(logits_BxHxTxS, v, pattern):
    return jnp.einsum(pattern, jax.nn.softmax(logits_BxHxTxS * HEAD_DIM**-0.5, axis=-1), v)


def latent_attention(params, x_BxTxD):
    q_BxTxR = rms_norm(x_BxTxD @ params["q_down"], params["q_norm"])
    kv_BxTxR = rms_norm(x_BxTxD @ params["kv_down"], params["kv_norm"])
    q = jnp.einsum("btr,rhk->bthk", q_BxTxR, params["q_up"])
    k = jnp.einsum("btr,rhk->bthk", kv_BxTxR, params["k_up"])
    v = jnp.einsum("btr,rhk->bthk", kv_BxTxR, params["v_up"])
    y = softmax_mix(jnp.einsum("bthk,bshk->bhts", q, k), v, "bhts,bshk->bthk")
    return y.reshape(x_BxTxD.shape) @ params["out"]


def multi_query_attention(params, x_BxTxD):
    q = jnp.einsum("btd,dhk->bthk", x_BxTxD, params["q"])
    k, v = x_BxTxD @ params["k"], x_BxTxD @ params["v"]
    y = softmax_mix(jnp.einsum("bthk,bsk->bhts", q, k), v, "bhts,bsk->bthk")
    return jnp.einsum("bthk,hkd->btd", y, params["out"])


def forward(params, tokens_BxT):
    x = params["embedding"][tokens_BxT]
    x = x + latent_attention(params["mla"], rms_norm(x, params["norms"][0]))
    x = x + multi_query_attention(params["mqa"], rms_norm(x, params["norms"][1]))
    return x @ params["head"]


def build(width):
    heads = width // HEAD_DIM
    shapes = {
        "embedding": (VOCABULARY, width),
        "mla": {
            "q_down": (width, RANK),
            "q_norm": (RANK,),
            "q_up": (RANK, heads, HEAD_DIM),
            "kv_down": (width, RANK),
            "kv_norm": (RANK,),
            "k_up": (RANK, heads, HEAD_DIM),
            "v_up": (RANK, heads, HEAD_DIM),
            "out": (width, width),
        },
        "mqa": {
            "q": (width, heads, HEAD_DIM),
            "k": (width, HEAD_DIM),
            "v": (width, HEAD_DIM),
            "out": (heads, HEAD_DIM, width),
        },
        "norms": [(width,), (width,)],
        "head": (width, VOCABULARY),
    }
    return forward, jax.tree.map(jnp.ones, shapes, is_leaf=lambda x: isinstance(x, tuple))


inputs = (np.zeros((2, LENGTH), np.int32),)

ROLES = {
    "embedding": "input",
    "mla/q_down": "narrow",
    "mla/q_norm": "scalar",
    "mla/q_up": "wide",
    "mla/kv_down": "narrow",
    "mla/kv_norm": "scalar",
    "mla/k_up": "wide",
    "mla/v_up": "wide",
    "mla/out": "matrix",
    "mqa/q": "matrix",
    "mqa/k": "narrow",
    "mqa/v": "narrow",
    "mqa/out": "matrix",
    "norms/0": "vector",
    "norms/1": "vector",
    "head": "output",
}
AXES = {
    "embedding": ("lookup", "out"),
    "mla/q_down": ("in", "out"),
    "mla/q_norm": ("elementwise",),
    "mla/q_up": ("in", "out", "out"),
    "mla/kv_down": ("in", "out"),
    "mla/kv_norm": ("elementwise",),
    "mla/k_up": ("in", "out", "out"),
    "mla/v_up": ("in", "out", "out"),
    "mla/out": ("in", "out"),
    "mqa/q": ("in", "out", "out"),
    "mqa/k": ("in", "out"),
    "mqa/v": ("in", "out"),
    "mqa/out": ("in", "in", "out"),
    "norms/0": ("elementwise",),
    "norms/1": ("elementwise",),
    "head": ("in", "out"),
}
