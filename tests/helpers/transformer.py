"""A small decoder in plain JAX with stacked layers, as a family: what the tests of layouts train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import mupwd

BASE, WIDTH = 16, 32
LAYERS, HEAD_DIM, VOCABULARY = 4, 8, 24
BATCH, LENGTH = 8, 8


def initial(width: int, seed: int = 0) -> dict[str, Any]:
    heads = width // HEAD_DIM
    shapes: dict[str, tuple[tuple[int, ...], int]] = {
        "qkv": ((3, width, heads, HEAD_DIM), width),
        "o": ((heads, HEAD_DIM, width), width),
        "up": ((width, 4 * width), width),
        "down": ((4 * width, width), 4 * width),
    }
    keys = iter(jax.random.split(jax.random.key(seed), len(shapes) + 2))

    def kernel(shape: tuple[int, ...], fan_in: int) -> jax.Array:
        return jax.random.normal(next(keys), shape) * fan_in**-0.5

    layers = {name: kernel((LAYERS, *shape), fan_in) for name, (shape, fan_in) in shapes.items()}
    return {
        "embed": kernel((VOCABULARY, width), 1),
        "layers": {"scale": jnp.ones((LAYERS, 2, width)), **layers},
        "readout": kernel((width, VOCABULARY), width),
    }


def block(x: jax.Array, layer: dict[str, jax.Array]) -> jax.Array:
    """One layer: (batch, length, width) to the same."""
    h = _normalised(x, layer["scale"][0])
    q, k, v = jnp.einsum("btd,cdhk->cbhtk", h, layer["qkv"])
    logits = jnp.einsum("bhtk,bhsk->bhts", q, k) * HEAD_DIM**-0.5
    seen = jnp.tril(jnp.ones((x.shape[1],) * 2, bool))
    weights = jax.nn.softmax(jnp.where(seen[None, None], logits, jnp.asarray(-1e9, x.dtype)))
    x = x + jnp.einsum("bhts,bhsk,hkd->btd", weights, v, layer["o"])
    h = _normalised(x, layer["scale"][1])
    return x + jax.nn.silu(h @ layer["up"]) @ layer["down"]


def logits(params: dict[str, Any], tokens: jax.Array) -> jax.Array:
    x = params["embed"][tokens]
    x, _ = jax.lax.scan(lambda x, layer: (block(x, layer), None), x, params["layers"])
    return x @ params["readout"]


def loss(params: dict[str, Any], tokens: jax.Array) -> jax.Array:
    return cross_entropy(logits(params, tokens[:, :-1]), tokens[:, 1:])


def cross_entropy(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    found = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.mean(jnp.take_along_axis(found, tokens[..., None], axis=-1))


def family(base: int = BASE, **options: Any) -> mupwd.Family:
    def build(width: int, seed: int) -> tuple[Callable[..., Any], Any]:
        return logits, initial(width, seed)

    return mupwd.family(build, base=base, inputs=(np.zeros((BATCH, LENGTH), np.int32),), **options)


def batches(steps: int, seed: int = 0) -> list[np.ndarray]:
    """Sequences that count up by one or two, so that there is something to learn."""
    random = np.random.default_rng(seed)
    start = random.integers(VOCABULARY, size=(steps, BATCH, 1))
    stride = random.integers(1, 3, size=(steps, BATCH, 1))
    return list(((start + stride * np.arange(LENGTH + 1)) % VOCABULARY).astype(np.int32))


def _normalised(x: jax.Array, scale: jax.Array) -> jax.Array:
    size = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + jnp.asarray(1e-6, x.dtype))
    return x * size * scale[None, None]
