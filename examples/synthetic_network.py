"""The network, the data and the training of `synthetic.py`.

Two matrices, normalised wherever they meet the network, so that their scale has no effect on the output and the
optimizer alone decides it:

    f(x) = norm(norm(norm(x) · up) activated · down),      norm(x) = x / rms(x)

All of one width's runs are one program: settings, learning rates, decays and seeds are traced and batched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mupwd

MATRICES: tuple[str, ...] = ("up", "down")
RANK_AT, RANK = 32, 8  # targets have rank 8 at width 32
SPECTRA, EVERY = 8, 4  # spectra per run, and steps from one sampled update to the next


@dataclass(frozen=True)
class Setting:
    """What the network is trained on, at every width.

    Attributes:
      rank_exponent: s in the rank of the targets, `8 (width / 32)**s`.
      noise: share of the targets' power that is independent of the inputs.
      covariance: a in the eigenvalues `k**-a` of the inputs' covariance; 0 is white.
      relu: ReLU, whose outputs have a mean, in the place of tanh, whose outputs have none.
      random_gradients: no data at all: independent Gaussian matrices in the place of gradients.
    """

    rank_exponent: float = 0.0
    noise: float = 0.5
    covariance: float = 0.0
    relu: bool = False
    random_gradients: bool = False

    def rank(self, width: int) -> int:
        """Rank of the targets."""
        return min(width, max(1, round(RANK * (width / RANK_AT) ** self.rank_exponent)))


class Measured(NamedTuple):
    """Of every run: axes [run, matrix], and then those said; the loss has [run] alone.

    Attributes:
      sigma: singular values, mean over the run's last half [width].
      stable_rank: sum σ² / σ_1², likewise.
      gaussian_stable_rank: what it would be if the updates were independent Gaussians of the same second
        moments: `C_in^1/2 · G · C_out^1/2` with `C_in = E[u u^T]`, `C_out = E[u^T u]`.
      loss: squared error per feature, mean over the last half.
    """

    sigma: np.ndarray
    stable_rank: np.ndarray
    gaussian_stable_rank: np.ndarray
    loss: np.ndarray


def normalised(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-12)


def network(params: dict[str, jax.Array], x: jax.Array, relu: jax.Array) -> jax.Array:
    z = normalised(normalised(x) @ params["up"])
    return normalised(jnp.where(relu, jax.nn.relu(z), jnp.tanh(z)) @ params["down"])


def shapes(width: int) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct((width, width), jnp.float32) for name in MATRICES}


def plan(width: int, base: int) -> mupwd.Plan:
    """`mup_linear`: learning rate ∝ 1 / width and decay ∝ width, so that all widths decay equally fast."""
    axes = dict.fromkeys(MATRICES, "in out")
    family = mupwd.family_from_shapes(shapes(base), shapes(2 * base), axes=axes)
    return family.plan(shapes(width), recipe="mup_linear")


def train(
    width: int,
    base: int,
    setting: Setting,
    learning_rate: np.ndarray,
    weight_decay: np.ndarray,
    seed: np.ndarray,
    steps: int,
    batch_size: int,
) -> Measured:
    """Trains one setting at one width, all runs at once.

    Args:
      width: sides of both matrices.
      base: width that learning rate and decay are meant for.
      setting: of the data.
      learning_rate: one per run, at the base [runs].
      weight_decay: likewise; coupled, per unit of learning rate [runs].
      seed: of the weights, the data and the teacher [runs].
      steps: of each run.
      batch_size: examples in a step; all of them fresh.
    """
    data = [_data(width, setting, int(one)) for one in seed]
    runs = (
        jnp.float32(learning_rate),
        jnp.float32(weight_decay),
        jax.vmap(jax.random.key)(jnp.uint32(seed)),
        jnp.float32([inputs for inputs, _ in data]),
        jnp.float32([teacher for _, teacher in data]),
    )
    shared = jnp.float32(setting.noise), jnp.bool_(setting.relu), jnp.bool_(setting.random_gradients)
    weights, moments, loss = jax.device_get(
        _all(runs, shared, width=width, base=base, steps=steps, batch_size=batch_size)
    )
    # Decompositions are numpy's: inside a batched program on CPU they have been seen to hang.
    sigma = np.linalg.svd(weights, compute_uv=False)
    values = np.maximum(np.linalg.eigvalsh(moments), 0)
    # A Gaussian matrix is the same in every basis: eigenvalues are all that matters.
    gaussian = np.random.default_rng(0).normal(size=weights[:, 0].shape)
    gaussian *= np.sqrt(values[:, 0, :, :, None]) * np.sqrt(values[:, 1, :, None, :])
    return Measured(
        sigma.mean(1),
        stable_rank(sigma).mean(1),
        stable_rank(np.linalg.svd(gaussian, compute_uv=False)),
        loss,
    )


def stable_rank(sigma: np.ndarray) -> np.ndarray:
    return np.sum(np.square(sigma), axis=-1) / np.square(sigma[..., 0])


def _data(width: int, setting: Setting, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A square root of the inputs' covariance and the teacher, which maps inputs to targets."""
    random = np.random.default_rng([seed, width])
    basis, reader, writer = np.linalg.qr(random.normal(size=(3, width, width)))[0]
    variances = (1.0 + np.arange(width)) ** -setting.covariance
    rank = setting.rank(width)
    return np.sqrt(variances / variances.mean())[:, None] * basis, reader[:, :rank] @ writer[:, :rank].T


@partial(jax.jit, static_argnames=("width", "base", "steps", "batch_size"))
def _all(runs: tuple[jax.Array, ...], shared: tuple[jax.Array, ...], **sizes: int) -> Any:
    return jax.vmap(lambda *run: _one(*run, *shared, **sizes))(*runs)


def _one(
    learning_rate: jax.Array,
    weight_decay: jax.Array,
    key: jax.Array,
    inputs: jax.Array,
    teacher: jax.Array,
    noise: jax.Array,
    relu: jax.Array,
    random_gradients: jax.Array,
    *,
    width: int,
    base: int,
    steps: int,
    batch_size: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One run: weights [spectra, matrix, width, width], moments [side, matrix, width, width], loss."""
    normal, (first_key, step_key) = jax.random.normal, jax.random.split(key)

    def batch(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second = jax.random.split(key)
        x = normal(first, (batch_size, width)) @ inputs
        signal, rest = normalised(normalised(x) @ teacher), normal(second, x.shape)
        return x, jnp.sqrt(1 - noise) * signal + jnp.sqrt(noise) * rest

    def loss(params: dict[str, jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(jnp.sum(jnp.square(network(params, x, relu) - y), axis=-1))

    rule = plan(width, base)
    optimizer = mupwd.adamw(learning_rate, rule, b2=0.95, weight_decay=weight_decay)

    def step(carry: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        params, state = carry
        value, gradients = jax.value_and_grad(loss)(params, *batch(key))
        for name, other in zip(MATRICES, jax.random.split(jax.random.fold_in(key, 1)), strict=True):
            random = normal(other, (width, width))
            gradients[name] = jnp.where(random_gradients, random, gradients[name])
        updates: Any
        updates, state = optimizer.update(gradients, state, params)
        # Adam's part of the update, in units of the learning rate.
        adam = jnp.stack(
            [
                -updates[n] / (learning_rate * rule[n].lr) - weight_decay * rule[n].wd * params[n]
                for n in MATRICES
            ]
        )
        return (optax.apply_updates(params, updates), state), (value / width, adam)

    def sampled(carry: Any, keys: jax.Array) -> Any:
        model, moments_in, moments_out = carry
        model, (losses, adam) = jax.lax.scan(step, model, keys)
        moments_in += jnp.einsum("mio,mjo->mij", adam[-1], adam[-1])
        moments_out += jnp.einsum("mio,mip->mop", adam[-1], adam[-1])
        return (model, moments_in, moments_out), losses.mean()

    def spectra(carry: Any, keys: jax.Array) -> Any:
        carry, losses = jax.lax.scan(sampled, carry, keys)
        weights = jnp.stack([carry[0][0][name] for name in MATRICES])
        return carry, (weights, losses.mean())

    # Below the steady state, which is soon reached from there: a large start has to decay first.
    params = {
        name: 0.1 * normal(key, (width, width)) / jnp.sqrt(width)
        for name, key in zip(MATRICES, jax.random.split(first_key), strict=True)
    }
    model = params, optimizer.init(params)
    per_spectrum = EVERY * max(1, steps // 2 // SPECTRA // EVERY)
    measured = SPECTRA * per_spectrum
    every_key = jax.random.split(step_key, max(steps, measured))
    model, _ = jax.lax.scan(lambda c, k: (step(c, k)[0], None), model, every_key[measured:])
    zeros = jnp.zeros((len(MATRICES), width, width))
    shape = SPECTRA, per_spectrum // EVERY, EVERY
    (_, *moments), (weights, losses) = jax.lax.scan(
        spectra, (model, zeros, zeros), every_key[:measured].reshape(shape)
    )
    return weights, jnp.stack(moments), losses.mean()
