"""Plain JAX: q, k and v fused in three ways: by a leading axis, by a reshape, in one (d, 3, H, K)."""

import jax
import jax.numpy as jnp
import numpy as np

HEAD_DIM, LENGTH = 16, 8


def attend(q_BxTxHxK, k_BxTxHxK, v_BxTxHxK):
    logits = jnp.einsum("bthk,bshk->bhts", q_BxTxHxK, k_BxTxHxK) * HEAD_DIM**-0.5
    return jnp.einsum("bhts,bshk->bthk", jax.nn.softmax(logits, axis=-1), v_BxTxHxK)


def forward(params, x_BxTx5):
    batch, length, _ = x_BxTx5.shape
    x = jnp.einsum("btc,cd->btd", x_BxTx5, params["first"])
    by_head = lambda y: y.reshape(batch, length, -1, HEAD_DIM)  # noqa: E731

    q, k, v = jnp.einsum("btd,edf->ebtf", x, params["leading"]["qkv"])
    y = attend(by_head(q), by_head(k), by_head(v))
    x = x + jnp.einsum("bthk,hkd->btd", y, params["leading"]["out"])

    qkv = jnp.einsum("btd,df->btf", x, params["reshaped"]["qkv"]).reshape(batch, length, 3, -1, HEAD_DIM)
    y = attend(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
    x = x + jnp.einsum("btf,fd->btd", y.reshape(batch, length, -1), params["reshaped"]["out"])

    kernel = params["inner"]["qkv"].astype(jnp.bfloat16)
    qkv = jnp.einsum("btd,dehk->ebthk", x.astype(jnp.bfloat16), kernel)
    qkv = qkv + params["inner"]["bias"].astype(jnp.bfloat16)[:, None, None, :, :]
    y = attend(qkv[0], qkv[1], qkv[2]).astype(jnp.float32)
    x = x + jnp.einsum("bthk,hkd->btd", y, params["inner"]["out"])
    return jnp.einsum("btd,dv->btv", x, params["head"])


def build(width):
    heads = width // HEAD_DIM
    shapes = {
        "first": (5, width),
        "leading": {"qkv": (3, width, width), "out": (heads, HEAD_DIM, width)},
        "reshaped": {"qkv": (width, 3 * width), "out": (width, width)},
        "inner": {
            "qkv": (width, 3, heads, HEAD_DIM),
            "bias": (3, heads, HEAD_DIM),
            "out": (heads, HEAD_DIM, width),
        },
        "head": (width, 7),
    }
    return forward, jax.tree.map(jnp.zeros, shapes, is_leaf=lambda x: isinstance(x, tuple))


inputs = (np.zeros((2, LENGTH, 5), np.float32),)

ROLES = {
    "first": "input",
    "leading/qkv": "matrix",
    "leading/out": "matrix",
    "reshaped/qkv": "matrix",
    "reshaped/out": "matrix",
    "inner/qkv": "matrix",
    "inner/bias": "vector",
    "inner/out": "matrix",
    "head": "output",
}
AXES = {
    "first": ("in", "out"),
    "leading/qkv": ("stack", "in", "out"),
    "leading/out": ("in", "in", "out"),
    "reshaped/qkv": ("in", "stack+out"),
    "reshaped/out": ("in", "out"),
    "inner/qkv": ("in", "stack", "out", "out"),
    "inner/bias": ("elementwise", "elementwise", "elementwise"),
    "inner/out": ("in", "in", "out"),
    "head": ("in", "out"),
}

PIECES = {"reshaped/qkv": (1, 3)}
