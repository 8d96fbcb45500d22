"""Fewer points that look the same: the lowest and the highest of every stretch are kept."""

from __future__ import annotations

import itertools

import numpy as np


def downsample(steps: np.ndarray, values: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a series of about `limit` points.

    The series is cut into stretches; of each its lowest and highest value are kept, and its first value that is not
    finite. The first and the last point are kept as well.

    Args:
      steps: [n].
      values: [n].
      limit: of points; where there are no more, the series is returned as it is.

    Example:
      >>> steps, values = downsample(np.arange(1000), np.sin(np.arange(1000.0)), 10)
      >>> len(steps) <= 12, values.min() < -0.999, values.max() > 0.999
      (True, True, True)
    """
    count = len(steps)
    if count <= limit:
        return steps, values
    keep = {0, count - 1}
    edges = np.linspace(0, count, max(limit // 2, 1) + 1).astype(int)
    finite = np.isfinite(values)
    for low, high in itertools.pairwise(edges):
        good = finite[low:high]
        if good.any():
            stretch = values[low:high]
            keep.add(int(low + np.where(good, stretch, np.inf).argmin()))
            keep.add(int(low + np.where(good, stretch, -np.inf).argmax()))
        if not good.all():
            keep.add(int(low + (~good).argmax()))
    at = np.array(sorted(keep))
    return steps[at], values[at]
