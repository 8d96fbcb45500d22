"""Matrices with seeds, how they drift, and the truth about them; the text that the proxy is trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

import mupwd
from mupwd.plan import Plan
from mupwd.proxy.corpus import Corpus, corpus

K = 8


class Truth(NamedTuple):
    """The K largest singular values, falling, and their vectors on both sides, in float64: `[n, ...]`."""

    sigma: np.ndarray
    left: np.ndarray
    right: np.ndarray


def truth(matrices: np.ndarray) -> Truth:
    """Exact values by LAPACK in float64, of `[rows, columns]` or a stack `[n, rows, columns]`.

    From the eigenvalues of the smaller Gram matrix, for a tenth of the time of a decomposition: exact to 1e-14 for
    the largest values, which are all that is asked for.
    """
    found = []
    for matrix in matrices.reshape(-1, *matrices.shape[-2:]).astype(np.float64):
        wide = matrix.shape[0] < matrix.shape[1]
        tall = matrix.T if wide else matrix
        last = tall.shape[1] - 1
        values, vectors = scipy.linalg.eigh(
            tall.T @ tall, subset_by_index=(last + 1 - min(K, last + 1), last)
        )
        sigma, right = np.sqrt(np.maximum(values[::-1], 0.0)), vectors[:, ::-1]
        left = tall @ right / np.where(sigma > 0, sigma, 1.0)
        found.append((sigma, right, left) if wide else (sigma, left, right))
    return Truth(*(np.stack(part) for part in zip(*found, strict=True)))


def gaussian(rows: int, columns: int, seed: int) -> np.ndarray:
    """Independent entries: what an initial value is, and the hardest spectrum, with no gap anywhere."""
    return np.random.default_rng(seed).standard_normal((rows, columns), np.float32) / np.float32(rows**0.5)


def heavy_tailed(rows: int, columns: int, seed: int) -> np.ndarray:
    """A random bulk and a power law, `4 i**-0.5` over an eighth of the directions, as in trained matrices."""
    return _bulk_and(rows, columns, seed, 4.0 / np.arange(1.0, min(rows, columns) // 8 + 1) ** 0.5)


def spiked(rows: int, columns: int, seed: int) -> np.ndarray:
    """A random bulk and four directions that stand out of it."""
    return _bulk_and(rows, columns, seed, np.asarray([8.0, 6.0, 5.0, 4.5]))


def _bulk_and(rows: int, columns: int, seed: int, values: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(seed + 1)
    sides = (
        np.linalg.qr(random.standard_normal((size, len(values)), np.float32))[0] for size in (rows, columns)
    )
    left, right = sides
    return gaussian(rows, columns, seed) + (left * values.astype(np.float32)) @ right.T


KINDS: dict[str, Callable[[int, int, int], np.ndarray]] = {
    "Gaussian": gaussian,
    "heavy-tailed": heavy_tailed,
    "spiked": spiked,
}


class Drift:
    """A matrix that moves, step by step, by `rate` of its Frobenius norm.

    Half of a step's square is noise, half of rank 4, in directions that turn slowly (by a tenth in each step) as
    averaged gradients do. The matrix is then brought back to its norm, as weight decay holds it.

    Args:
      matrix: `[rows, columns]`.
      rate: length of a step over the norm.
      seed: of the steps.
    """

    def __init__(self, matrix: np.ndarray, rate: float, seed: int):
        self.matrix = matrix
        self._rate, self._norm = rate, np.linalg.norm(matrix)
        self._random = np.random.default_rng(seed)
        self._sides = [self._normal(size, 4) for size in matrix.shape]

    def step(self) -> np.ndarray:
        """Moves the matrix and returns it, an array of its own."""
        self._sides = [0.995 * side + 0.1 * self._normal(*side.shape) for side in self._sides]
        noise, aligned = self._normal(*self.matrix.shape), self._sides[0] @ self._sides[1].T
        length = np.float32(self._rate * self._norm / 2**0.5)
        moved = self.matrix + sum(length * part / np.linalg.norm(part) for part in (noise, aligned))
        self.matrix = moved * np.float32(self._norm / np.linalg.norm(moved))
        return self.matrix

    def _normal(self, *shape: int) -> np.ndarray:
        return self._random.standard_normal(shape, np.float32)


def drifted(matrices: np.ndarray, rate: float, steps: int, seed: int) -> np.ndarray:
    """Returns matrices, or a stack of them, some steps of `Drift` later."""
    moved = []
    for index, matrix in enumerate(matrices.reshape(-1, *matrices.shape[-2:])):
        drift = Drift(matrix, rate, seed + index)
        for _ in range(steps):
            drift.step()
        moved.append(drift.matrix)
    return np.stack(moved).reshape(matrices.shape)


def plan_of(matrices: Any) -> Plan:
    """The plan of a model whose only parameter is these matrices, `{"w": matrices}`."""
    *stack, rows, columns = matrices.shape

    def shapes(factor: int) -> Any:
        return {"w": np.zeros((*stack, rows // 8 * factor, columns // 8 * factor), np.float32)}

    family = mupwd.family_from_shapes(shapes(1), shapes(2), axes={"w": "stack " * len(stack) + "in out"})
    return family.plan({"w": matrices})


def largest_error(found: np.ndarray, exact: np.ndarray, count: int) -> float:
    """The largest relative error of the first `count` values, over all of a stack."""
    return float(np.max(np.abs(found[..., :count] / exact[..., :count] - 1)))


def standard_library() -> np.ndarray:
    """The training tokens of the proxy's default corpus."""
    text = corpus()
    assert isinstance(text, Corpus)
    return text.train
