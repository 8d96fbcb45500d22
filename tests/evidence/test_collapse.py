"""The power that lays curves of loss against decay on top of each other is the one that was planted."""

import math

import numpy as np
import pytest
from collapse import collapse_power
from results import Row

from mupwd.transfer.observations import Observation

RATE = 2.0**-6


def rows(power, noise=0.0, widths=(32, 64, 128, 256)):
    """Losses that are flat towards weak decays and rise towards strong ones, where that is moving with the width."""
    random = np.random.default_rng(0)
    found = []
    for width in widths:
        for k in range(-10, 1):
            for seed in (0, 1):
                decay = k / 2 + (0.5 - power) * math.log2(width / 32)  # of the matrix, in units of m^power
                loss = 2 - math.log2(width) / 10 + seed / 50 + 0.1 * math.log1p(2 ** (2 * decay + 2))
                one = Observation("mupwd", width, RATE, 2.0 ** (k / 2), seed, loss + noise * random.normal())
                found.append(Row("fixed", "rules", one, 100, 1.0, 1.0, {}))
    return found


@pytest.mark.parametrize("power", [-0.5, 0.0, 0.5, 1.0])
def test_a_planted_power_is_found(power):
    found = collapse_power(rows(power), RATE, 32)
    assert found.value == pytest.approx(power, abs=0.05)
    assert found.interval[0] <= found.value <= found.interval[1]


def test_noise_widens_the_interval_which_still_holds_the_power():
    quiet, noisy = (collapse_power(rows(0.5, noise), RATE, 32) for noise in (0.002, 0.02))
    assert noisy.interval[0] < 0.5 < noisy.interval[1]
    assert np.ptp(noisy.interval) > 2 * np.ptp(quiet.interval)


def test_one_width_or_few_decays_say_nothing():
    assert collapse_power(rows(0.5, widths=(32,)), RATE, 32) is None
    assert collapse_power([row for row in rows(0.5) if row.observation.weight_decay > 0.6], RATE, 32) is None
    assert collapse_power(rows(0.5), RATE / 2, 32) is None
