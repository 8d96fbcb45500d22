"""Fewer points that look the same: the lowest and the highest of every stretch are kept."""

from __future__ import annotations

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
      >>> len(steps) <= 12, round(float(values.min()), 3), round(float(values.max()), 3)
      (True, -1.0, 1.0)
    """
    count = len(steps)
    if count <= limit:
        return steps, values
    size = -(-count // max(limit // 2, 1))
    starts = np.arange(0, count, size)
    # Filled up to whole stretches with what is neither the lowest nor the highest.
    padded = np.full(len(starts) * size, np.nan)
    padded[:count] = values
    stretches = padded.reshape(-1, size)
    good = np.isfinite(stretches)
    some = good.any(axis=1)
    lowest = np.where(good, stretches, np.inf).argmin(axis=1) + starts
    highest = np.where(good, stretches, -np.inf).argmax(axis=1) + starts
    gone = np.flatnonzero(~np.isfinite(values))
    first_gone = gone[np.unique(gone // size, return_index=True)[1]]
    at = np.unique(np.concatenate([[0, count - 1], lowest[some], highest[some], first_gone])).astype(int)
    return steps[at], values[at]
