"""The largest singular values at a few steps, and the edge of a matrix of independent entries of the same size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mupwd.report.layers import Series
from mupwd.report.pack import EXACT, Packer

_SIGMA = re.compile(r"sigma_([1-9][0-9]{0,5})")
_MOST, _LEAST = 24, 2  # steps at which a spectrum is drawn
_ALL = 400_000  # singular values of all spectra together, as long as each keeps the least


@dataclass(frozen=True)
class Shape:
    """Of one matrix in one run.

    Attributes:
      run: its place on the page.
      steps: of the observations.
      sigmas: at these steps, the largest first.
      edge: the Marchenko-Pastur edge at these steps; None where the size or the norm is not known.
    """

    run: int
    steps: np.ndarray
    sigmas: list[np.ndarray]
    edge: np.ndarray | None


def shape_of(run: int, quantities: Mapping[str, Series], size: tuple[int, int] | None) -> Shape | None:
    """Returns what is known of a matrix's spectrum; None where that is no more than one value.

    Args:
      run: its place on the page.
      quantities: of the matrix.
      size: of the matrix; None where unknown.
    """
    numbers = sorted(int(match[1]) for name in quantities if (match := _SIGMA.fullmatch(name)))
    steps = quantities["sigma_1"][0] if 1 in numbers else np.zeros(0)
    sigmas = [
        values for at, values in (quantities[f"sigma_{one}"] for one in numbers) if np.array_equal(at, steps)
    ]
    if len(sigmas) < 2 or not len(steps):
        return None
    fro = quantities.get("fro")
    edge = None
    if fro is not None and size is not None and np.array_equal(fro[0], steps):
        # Of a matrix with independent entries of the same size.
        edge = fro[1] * (size[0] ** -0.5 + size[1] ** -0.5)
    return Shape(run, steps, sigmas, edge)


def packed_shapes(shapes: Mapping[str, Sequence[Shape]], packer: Packer) -> dict[str, list[Any]]:
    """Returns `{layer: [[run, steps, sigma_1 … sigma_k one after the other, k, edges or None], …]}` at a few steps.

    Args:
      shapes: by layer.
      packer: takes the numbers.
    """
    values = sum(len(one.sigmas) for some in shapes.values() for one in some)
    most = max(_LEAST, min(_MOST, _ALL // max(values, 1)))
    return {layer: [_packed(one, most, packer) for one in some] for layer, some in shapes.items()}


def _packed(one: Shape, most: int, packer: Packer) -> list[Any]:
    at = np.unique(np.linspace(0, len(one.steps) - 1, min(most, len(one.steps))).round().astype(int))
    values = np.stack([some[at] for some in one.sigmas], axis=1)
    edge = None if one.edge is None else packer.add(one.edge[at])
    return [one.run, packer.add(one.steps[at], EXACT), packer.add(values.reshape(-1)), len(one.sigmas), edge]
