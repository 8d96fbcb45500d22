"""Which power of the width lays the curves of loss against decay on top of each other?

Where loss hardly depends on weak decays, a minimum says little; the rise towards strong ones is well measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from presets import BASE_RULE
from results import Row
from scipy import stats

from mupwd.transfer.observations import Estimate

_OWN = 0.5  # the power under which the common grid ran
_POWERS = np.arange(-1.0, 2.0001, 0.005)
_DEGREE = 3


def collapse_power(
    rows: Sequence[Row], learning_rate: float, base: int, level: float = 0.95
) -> Estimate | None:
    """Fits `loss = c(width, seed) + f(log2 of the decay - p · log2 m)`, f a cubic, to one line of the grid.

    m is the width ratio, and the decay that of a matrix at its width. The power p with the least squares; its interval
    holds the powers that an F test at that level does not tell from it, which counts the misfit of the model as noise.

    Args:
      rows: of the common grid.
      learning_rate: of the line, at the base.
      base: width.
      level: of the interval.

    Returns:
      The power; None where fewer than two widths have four decays each.
    """
    found = [
        row.observation
        for row in rows
        if row.observation.recipe == BASE_RULE
        and row.observation.learning_rate == learning_rate
        and math.isfinite(row.observation.loss)
    ]
    counts = {
        width: len({one.weight_decay for one in found if one.width == width})
        for width in {one.width for one in found}
    }
    found = [one for one in found if counts[one.width] > _DEGREE]
    if len({one.width for one in found}) < 2:
        return None
    loss = np.array([one.loss for one in found])
    octaves = np.log2([one.width / base for one in found])
    decay = np.log2([one.weight_decay for one in found]) + _OWN * octaves
    groups = sorted({(one.width, one.seed) for one in found})
    offsets = np.array([[(one.width, one.seed) == group for group in groups] for one in found], dtype=float)

    def squares(power: float) -> float:
        at = decay - power * octaves
        # Near 0 the powers of a cubic tell themselves apart best.
        at = (at - at.mean()) / at.std()
        design = np.column_stack([offsets, *(at**n for n in range(1, _DEGREE + 1))])
        return float(((loss - design @ np.linalg.lstsq(design, loss, rcond=None)[0]) ** 2).sum())

    left = np.array([squares(power) for power in _POWERS])
    freedom = len(loss) - len(groups) - _DEGREE - 1
    if freedom < 1:
        return None
    bound = left.min() * (1 + float(stats.f.ppf(level, 1, freedom)) / freedom)
    inside = _POWERS[left <= bound]
    return Estimate(float(_POWERS[left.argmin()]), (float(inside.min()), float(inside.max())))
