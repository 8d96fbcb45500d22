"""Batches as a pure function of (seed, step): the same on the host and inside a compiled step.

A run that restarts at step n needs no iterator state, and trials that share a seed see the same data at every
width. Host and device must then agree bit for bit, on every version of jax, so both use one counter-based
generator: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
1, 2, 3", SC 2011), keyed by (seed, step) and counting the rows of the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Int, Integer

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def threefry_2x32(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    """Returns the Threefry-2x32 block (20 rounds) of a counter, for numpy and jax arrays alike.

    Args:
      key: two uint32 arrays that broadcast against the counter.
      counter: two uint32 arrays of one shape.

    Returns:
      Two uint32 arrays of pseudo-random bits, of the counter's shape.

    Example:
      >>> zero = np.zeros(1, np.uint32)
      >>> [hex(int(word[0])) for word in threefry_2x32((zero, zero), (zero, zero))]
      ['0x6b200159', '0x99ba4efe']
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x, y = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x = x + y
            y = (y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))
            y = x ^ y
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def sample_host(
    tokens: np.ndarray, seed: int, step: int, batch_size: int, sequence_length: int
) -> Int[np.ndarray, "B T+1"]:
    """Returns the batch of one step from tokens in host memory or in a memory-mapped file.

    Row b starts at `threefry(seed, step; b) mod (N - T)`, as 64-bit integers, for N tokens and length T.

    Args:
      tokens: all tokens, one-dimensional, of any unsigned type.
      seed: of the run, in [0, 2**32).
      step: of the run, in [0, 2**32).
      batch_size: rows B.
      sequence_length: T; a row holds T + 1 tokens, so that inputs and targets both have length T.

    Returns:
      An int32 array `[batch_size, sequence_length + 1]`.

    Example:
      >>> sample_host(np.arange(100, dtype=np.uint8), seed=0, step=0, batch_size=1, sequence_length=3)
      array([[ 7,  8,  9, 10]], dtype=int32)
    """
    rows = np.arange(batch_size, dtype=np.uint32)
    key = np.full_like(rows, seed), np.full_like(rows, step)
    high, low = threefry_2x32(key, (rows, np.zeros_like(rows)))
    bits = (high.astype(np.uint64) << np.uint64(32)) | low
    starts = (bits % np.uint64(tokens.size - sequence_length)).astype(np.int64)
    return tokens[starts[:, None] + np.arange(sequence_length + 1)[None, :]].astype(np.int32)


def sample_device(
    tokens: Integer[Array, " N"], seed: Any, step: Any, batch_size: int, sequence_length: int
) -> Int[Array, "B T+1"]:
    """Returns the batch that `sample_host` returns, as a jax program.

    `seed` and `step` may be traced, so that a loop over steps, or a `vmap` over seeds, can run on the device.
    Pass the tokens into the jitted function as an argument; closed over, they would become a constant of the
    program.

    Args:
      tokens: all tokens, one-dimensional, fewer than 2**31.
      seed: integer scalar in [0, 2**32).
      step: integer scalar in [0, 2**32).
      batch_size: rows B.
      sequence_length: T; a row holds T + 1 tokens.

    Returns:
      An int32 array `[batch_size, sequence_length + 1]`.

    Raises:
      ValueError: the tokens are too many for 32-bit indices.

    Example:
      >>> sample_device(jnp.arange(100, dtype=jnp.uint8), 0, 0, 1, 3)
      Array([[ 7,  8,  9, 10]], dtype=int32)
    """
    if tokens.size >= 2**31:
        raise ValueError(
            f"sample_device: {tokens.size} tokens need 64-bit indices; use Corpus.batch on the host"
        )
    rows = jnp.arange(batch_size, dtype=jnp.uint32)
    key = jnp.full_like(rows, seed), jnp.full_like(rows, step)
    high, low = threefry_2x32(key, (rows, jnp.zeros_like(rows)))
    starts = _modulo_64(high, low, tokens.size - sequence_length)
    windows = starts[:, None] + jnp.arange(sequence_length + 1, dtype=jnp.int32)[None, :]
    return tokens.at[windows].get(mode="promise_in_bounds").astype(jnp.int32)


def _modulo_64(high: Array, low: Array, modulus: int) -> Array:
    """`(high * 2**32 + low) % modulus` in 32-bit arithmetic, one bit at a time, for modulus < 2**31."""
    divisor = np.uint32(modulus)

    def feed(word: Array, remainder: Array) -> Array:
        def push(index: Array, remainder: Array) -> Array:
            bit = (word >> (31 - index).astype(jnp.uint32)) & np.uint32(1)
            doubled = (remainder << np.uint32(1)) | bit
            return jnp.where(doubled >= divisor, doubled - divisor, doubled)

        return jax.lax.fori_loop(0, 32, push, remainder)

    return feed(low, feed(high, jnp.zeros_like(high))).astype(jnp.int32)
