"""One network, `up → relu → hidden → relu → readout` with biases, built by width in each framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
from flax import nnx

INPUTS, OUTPUTS = 5, 3
X = jax.ShapeDtypeStruct((4, INPUTS), jnp.float32)

# What any framework's trace must find.
ROLES = {
    "up": "input",
    "up_bias": "vector",
    "hidden": "matrix",
    "hidden_bias": "vector",
    "readout": "output",
    "readout_bias": "scalar",
}


@dataclass(frozen=True)
class Network:
    """A framework's way to build it.

    Attributes:
      paths: which of the network's parameters each path is.
      params: the parameters of what `build` returned, as its users get them.
    """

    build: Callable[..., Any]
    paths: dict[str, str]
    params: Callable[[Any], Any]
    call: Callable[..., Any] | None = None


class NnxNetwork(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs):
        self.up = nnx.Linear(INPUTS, width, rngs=rngs)
        self.hidden = nnx.Linear(width, width, rngs=rngs)
        self.readout = nnx.Linear(width, OUTPUTS, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.readout(nnx.relu(self.hidden(nnx.relu(self.up(x)))))


class LinenNetwork(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Dense(self.width, name="up")(x))
        x = nn.relu(nn.Dense(self.width, name="hidden")(x))
        return nn.Dense(OUTPUTS, name="readout")(x)


class EquinoxNetwork(eqx.Module):
    up: eqx.nn.Linear
    hidden: eqx.nn.Linear
    readout: eqx.nn.Linear
    activation: Callable[[jax.Array], jax.Array]

    def __init__(self, width: int, key: jax.Array):
        keys = jax.random.split(key, 3)
        self.up = eqx.nn.Linear(INPUTS, width, key=keys[0])
        self.hidden = eqx.nn.Linear(width, width, key=keys[1])
        self.readout = eqx.nn.Linear(width, OUTPUTS, key=keys[2])
        self.activation = jax.nn.relu

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.readout(self.activation(self.hidden(self.activation(self.up(x)))))


def haiku_network(width: int) -> hk.Transformed:
    def forward(x: jax.Array) -> jax.Array:
        x = jax.nn.relu(hk.Linear(width, name="up")(x))
        x = jax.nn.relu(hk.Linear(width, name="hidden")(x))
        return hk.Linear(OUTPUTS, name="readout")(x)

    return hk.transform(forward)


def pair_network(width: int, seed: int = 0) -> tuple[Callable[..., Any], dict[str, Any]]:
    def fn(params: dict[str, Any], x: jax.Array) -> jax.Array:
        x = jax.nn.relu(x @ params["up"]["w"] + params["up"]["b"][None])
        x = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"][None])
        return x @ params["readout"]["w"] + params["readout"]["b"][None]

    sizes = {"up": (INPUTS, width), "hidden": (width, width), "readout": (width, OUTPUTS)}
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {
        name: {"w": jax.random.normal(key, size) * size[0] ** -0.5, "b": jnp.zeros(size[1])}
        for (name, size), key in zip(sizes.items(), keys, strict=True)
    }
    return fn, params


def _paths(weight: str, bias: str) -> dict[str, str]:
    names = ("up", "hidden", "readout")
    return {f"{n}/{weight}": n for n in names} | {f"{n}/{bias}": f"{n}_bias" for n in names}


NETWORKS = {
    "nnx": Network(
        lambda width, seed: NnxNetwork(width, nnx.Rngs(seed)),
        _paths("kernel", "bias"),
        lambda model: nnx.state(model, nnx.Param),
    ),
    "linen": Network(
        LinenNetwork,
        _paths("kernel", "bias"),
        lambda module: module.init(jax.random.key(0), jnp.zeros(X.shape)),
    ),
    "equinox": Network(
        lambda width, seed: EquinoxNetwork(width, jax.random.key(seed)),
        _paths("weight", "bias"),
        lambda model: eqx.filter(model, eqx.is_inexact_array),
        call=lambda model, x: jax.vmap(model)(x),
    ),
    "haiku": Network(
        haiku_network,
        _paths("w", "b"),
        lambda transformed: transformed.init(jax.random.key(0), jnp.zeros(X.shape)),
    ),
    "pair": Network(pair_network, _paths("w", "b"), lambda pair: pair[1]),
}
