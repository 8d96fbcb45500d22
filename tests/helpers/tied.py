"""One small model with a tied embedding in each framework, and the same with the factor written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

VOCABULARY, BASE, TARGET = 11, 8, 32
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, size=(4, 6)).astype(np.int32)


class _Linen(nn.Module):
    width: int
    factor: float

    @nn.compact
    def __call__(self, tokens):
        embedding = nn.Embed(VOCABULARY, self.width, name="embedding")
        x = embedding(tokens)
        x = x + nn.tanh(nn.Dense(self.width, name="hidden")(nn.LayerNorm(name="norm")(x)))
        bias = self.param("bias", nn.initializers.normal(1.0), (VOCABULARY,))
        return self.factor * embedding.attend(x) + bias[None, None]


class _Nnx(nnx.Module):
    def __init__(self, width, factor, rngs):
        self.factor = factor
        self.embedding = nnx.Embed(VOCABULARY, width, rngs=rngs)
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.hidden = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, tokens):
        x = self.embedding(tokens)
        x = x + jnp.tanh(self.hidden(self.norm(x)))
        return jnp.tanh(self.factor * self.embedding.attend(x))


class _Equinox(eqx.Module):
    embedding: eqx.nn.Embedding
    norm: eqx.nn.RMSNorm
    hidden: eqx.nn.Linear
    factor: float = eqx.field(static=True)

    def __init__(self, width, factor, key):
        first, second = jax.random.split(key)
        self.embedding = eqx.nn.Embedding(VOCABULARY, width, key=first)
        self.norm = eqx.nn.RMSNorm(width)
        self.hidden = eqx.nn.Linear(width, width, key=second)
        self.factor = factor

    def __call__(self, tokens):
        def token(token):
            x = self.embedding(token)
            x = x + jnp.tanh(self.hidden(self.norm(x)))
            return self.factor * (self.embedding.weight @ x)

        return jax.vmap(jax.vmap(token))(tokens)


def linen(width: int, factor: float = 1.0) -> tuple[Callable[..., Any], Any]:
    module = _Linen(width, factor)
    params = module.init(jax.random.key(0), TOKENS)["params"]
    return (lambda params, tokens: module.apply({"params": params}, tokens)), params


def split_nnx(width: int, factor: float = 1.0) -> tuple[Callable[..., Any], Any]:
    graph, params = nnx.split(_Nnx(width, factor, nnx.Rngs(0)))
    return (lambda params, tokens: nnx.merge(graph, params)(tokens)), params


def whole_nnx(width: int, factor: float = 1.0) -> tuple[Callable[..., Any], Any]:
    return (lambda model, tokens: model(tokens)), _Nnx(width, factor, nnx.Rngs(0))


def equinox(width: int, factor: float = 1.0) -> tuple[Callable[..., Any], Any]:
    return (lambda model, tokens: model(tokens)), _Equinox(width, factor, jax.random.key(0))


def haiku(width: int, factor: float = 1.0) -> tuple[Callable[..., Any], Any]:
    def forward(tokens):
        embedding = hk.Embed(VOCABULARY, width, name="embedding")
        x = embedding(tokens)
        x = x + jnp.tanh(hk.Linear(width, name="hidden")(hk.LayerNorm(-1, True, True, name="norm")(x)))
        return factor * (x @ embedding.embeddings.T)

    transformed = hk.without_apply_rng(hk.transform(forward))
    with jax.numpy_rank_promotion("allow"):
        params = transformed.init(jax.random.key(0), TOKENS)

    def fn(params, tokens):
        with jax.numpy_rank_promotion("allow"):  # haiku adds its biases so
            return transformed.apply(params, tokens)

    return fn, params


def plain(width: int, factor: float = 1.0) -> tuple[Callable[..., Any], Any]:
    def fn(params, tokens):
        x = params["embedding"][tokens]
        x = x + jnp.tanh(x @ params["hidden"])
        return factor * jnp.einsum("btd,vd->btv", x, params["embedding"])

    first, second = jax.random.split(jax.random.key(0))
    return fn, {
        "embedding": jax.random.normal(first, (VOCABULARY, width)),
        "hidden": jax.random.normal(second, (width, width)) / width**0.5,
    }


FRAMEWORKS = {
    "equinox": equinox,
    "haiku": haiku,
    "linen": linen,
    "nnx, split": split_nnx,
    "nnx, whole": whole_nnx,
    "plain": plain,
}
