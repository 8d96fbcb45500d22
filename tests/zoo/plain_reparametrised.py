"""Plain JAX: weights that meet arithmetic first: weight norm, W / ||W||, per-head norm, quantised, masked."""

import jax
import jax.numpy as jnp
import numpy as np

HEAD_DIM = 16


def quantised(w):
    """int8 values of the weight, with a straight-through gradient."""
    scale = jnp.max(jnp.abs(w)) / 127
    return w + jax.lax.stop_gradient(jnp.clip(jnp.round(w / scale), -127, 127) * scale - w)


def forward(params, x_Bx6):
    x = x_Bx6 @ params["first"]
    v, g = params["weight_norm"]["v"], params["weight_norm"]["g"]
    x = jax.nn.relu(x @ (v * (g / jnp.linalg.norm(v, axis=0))[None, :]))
    w = params["frobenius"]
    x = x + jax.nn.relu(x @ (w / jnp.linalg.norm(w)))
    w_DxHxK = params["heads"]
    w_DxHxK = w_DxHxK * jax.lax.rsqrt(jnp.sum(w_DxHxK**2, axis=(0, 2), keepdims=True) + 1e-6)
    x = x + jnp.tanh(jnp.einsum("bd,dhk->bhk", x, w_DxHxK)).reshape(x.shape)
    x = x + jax.nn.relu(x @ quantised(params["quantised"]))
    x = x + jax.nn.relu(x @ jnp.tril(params["masked"]))
    # A gain on the features that come in, multiplied into the weight beforehand.
    x = x + jax.nn.relu(x @ (params["smoothed"]["gain"][:, None] * params["smoothed"]["w"]))
    x = x + jnp.einsum("bd,fd->bf", x, params["scaled"]["w"] * jnp.exp(params["scaled"]["log_scale"]))
    return x @ params["head"].astype(jnp.bfloat16).astype(jnp.float32)


def build(width):
    square = (width, width)
    shapes = {
        "first": (6, width),
        "weight_norm": {"v": square, "g": (width,)},
        "frobenius": square,
        "heads": (width, width // HEAD_DIM, HEAD_DIM),
        "quantised": square,
        "masked": square,
        "smoothed": {"w": square, "gain": (width,)},
        "scaled": {"w": square, "log_scale": ()},
        "head": (width, 2),
    }
    return forward, jax.tree.map(jnp.ones, shapes, is_leaf=lambda x: isinstance(x, tuple))


inputs = (np.zeros((4, 6), np.float32),)

ROLES = {
    "first": "input",
    "weight_norm/v": "matrix",
    "weight_norm/g": "vector",
    "frobenius": "matrix",
    "heads": "matrix",
    "quantised": "matrix",
    "masked": "matrix",
    "smoothed/w": "matrix",
    "smoothed/gain": "vector",
    "scaled/w": "matrix",
    "scaled/log_scale": "scalar",
    "head": "output",
}
AXES = {
    "first": ("in", "out"),
    "weight_norm/v": ("in", "out"),
    # One gain per column, that is per output feature.
    "weight_norm/g": ("elementwise",),
    "frobenius": ("in", "out"),
    "heads": ("in", "out", "out"),
    "quantised": ("in", "out"),
    "masked": ("in", "out"),
    "smoothed/w": ("in", "out"),
    "smoothed/gain": ("elementwise",),
    "scaled/w": ("out", "in"),
    "scaled/log_scale": (),
    "head": ("in", "out"),
}
