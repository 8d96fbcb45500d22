"""Batches: pure functions of (seed, step), the same on host and device, over all of the corpus."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32 as jax_threefry

from mupwd.proxy.corpus_sampling import sample_device, sample_host, threefry_2x32

TOKENS = np.random.default_rng(0).integers(0, 50257, 1_000_003).astype(np.uint16)
on_device = jax.jit(sample_device, static_argnums=(3, 4))


def test_threefry_is_that_of_jax():
    words = np.random.default_rng(1).integers(0, 2**32, (4, 64), dtype=np.uint32)
    key, counter = words[:2, :1], words[2:]
    ours = threefry_2x32((key[0], key[1]), (counter[0], counter[1]))
    theirs = jax_threefry((jnp.uint32(key[0, 0]), jnp.uint32(key[1, 0])), jnp.asarray(counter.reshape(-1)))
    np.testing.assert_array_equal(np.concatenate(ours), theirs)


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (1, 0), (0, 1), (2**32 - 1, 12345), (7, 2**32 - 1)])
@pytest.mark.parametrize("size", [1_000_003, 66, 2**16 + 65])
def test_host_and_device_agree(seed, step, size):
    tokens = TOKENS[:size]
    expected = sample_host(tokens, seed, step, 16, 64)
    found = on_device(jnp.asarray(tokens), np.uint32(seed), np.uint32(step), 16, 64)
    assert expected.shape == (16, 65)
    assert expected.dtype == found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_rows_are_windows_of_the_corpus():
    tokens = np.arange(10_000, dtype=np.uint16)
    rows = sample_host(tokens, 3, 4, 32, 50)
    assert (np.diff(rows, axis=1) == 1).all()
    assert len(set(rows[:, 0].tolist())) > 25


def test_every_start_is_drawn_evenly():
    tokens = np.arange(20, dtype=np.uint8)
    starts = np.concatenate([sample_host(tokens, 0, step, 100, 10)[:, 0] for step in range(200)])
    counts = np.bincount(starts, minlength=10)
    assert counts.size == 10  # the last window ends at the last token
    assert (np.abs(counts - 2000) < 5 * np.sqrt(2000)).all()


def test_seeds_and_steps_are_independent():
    batches = {sample_host(TOKENS, seed, step, 4, 8).tobytes() for seed in range(10) for step in range(10)}
    assert len(batches) == 100


def test_seed_can_be_mapped_over_on_the_device():
    tokens = jnp.asarray(TOKENS)
    seeds = jnp.arange(3, dtype=jnp.uint32)
    many = jax.vmap(lambda seed: sample_device(tokens, seed, 5, 4, 8))(seeds)
    for seed in range(3):
        np.testing.assert_array_equal(many[seed], sample_host(TOKENS, seed, 5, 4, 8))


def test_large_maps_use_all_64_bits(tmp_path):
    # A sparse file: 2**33 bytes that take no space on disk.
    with (tmp_path / "tokens.bin").open("wb") as file:
        file.truncate(2**33)
    tokens = np.memmap(tmp_path / "tokens.bin", np.uint8, "r")
    assert sample_host(tokens, 0, 0, 4, 8).shape == (4, 9)
    spec = jax.ShapeDtypeStruct(tokens.shape, jnp.uint8)
    with pytest.raises(
        ValueError, match=r"8589934592 tokens need 64-bit indices; use Corpus.batch on the host"
    ):
        jax.eval_shape(lambda tokens: sample_device(tokens, 0, 0, 4, 8), spec)
