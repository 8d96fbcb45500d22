"""haiku: embedding scaled by sqrt(d), readout by 1/d, gains as 1 + g, a custom_vjp activation."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

VOCABULARY = 50


@jax.custom_vjp
def clipped(x):
    return jnp.clip(x, -1.0, 1.0)


clipped.defvjp(lambda x: (clipped(x), None), lambda _, cotangent: (cotangent,))


def network(width):
    def forward(tokens_B):
        x = hk.Embed(VOCABULARY, width)(tokens_B) * width**0.5
        y = hk.LayerNorm(-1, create_scale=True, create_offset=True)(x)
        y = clipped(hk.Linear(3 * width, name="up")(y))
        x = x + hk.Linear(width, with_bias=False, name="down")(y)
        gain_D = hk.get_parameter("gain", (width,), init=jnp.zeros)
        x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
        x = x * (1.0 + gain_D)[None, :]
        return hk.Linear(VOCABULARY, name="head")(x) / width

    return hk.without_apply_rng(hk.transform(forward))


def build(width):
    transformed = network(width)
    return transformed.apply, transformed.init(jax.random.key(0), *inputs)


inputs = (np.zeros((4,), np.int32),)

ROLES = {
    "~/gain": "vector",
    "embed/embeddings": "input",
    "layer_norm/scale": "vector",
    "layer_norm/offset": "vector",
    "up/w": "matrix",
    "up/b": "vector",
    "down/w": "matrix",
    "head/w": "output",
    "head/b": "scalar",
}
AXES = {
    "~/gain": ("elementwise",),
    "embed/embeddings": ("lookup", "out"),
    "layer_norm/scale": ("elementwise",),
    "layer_norm/offset": ("elementwise",),
    "up/w": ("in", "out"),
    "up/b": ("elementwise",),
    "down/w": ("in", "out"),
    "head/w": ("in", "out"),
    "head/b": ("elementwise",),
}
SCALE_EXPONENTS = {"embed/embeddings": 0.5, "head/w": -1.0, "head/b": -1.0}
