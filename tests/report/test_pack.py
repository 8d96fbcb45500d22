"""Packed numbers come back, as exact as was asked for."""

import math

import numpy as np
import pytest

from mupwd.report.pack import EXACT, FINE, ROUGH, Packer, unpack


@pytest.mark.parametrize(("bits", "error"), [(EXACT, 0.0), (FINE, 2**-16), (ROUGH, 2**-11)])
def test_numbers_come_back(bits, error):
    values = np.random.default_rng(0).lognormal(sigma=9, size=1000).astype(np.float32)
    packer = Packer()
    start, count = packer.add(-values, bits)
    found = unpack(packer.packed())[start : start + count]
    np.testing.assert_allclose(found, -values, rtol=error)


def test_steps_are_exact_and_what_is_not_finite_stays_so():
    packer = Packer()
    steps = packer.add(np.array([0, 1, 2**24 - 1]), EXACT)
    values = packer.add(np.array([math.nan, math.inf, -math.inf, 1e300, 0.0, -0.0]), ROUGH)
    found = unpack(packer.packed())
    assert found[steps[0] : sum(steps)].tolist() == [0, 1, 2**24 - 1]
    nan, *rest = found[values[0] : sum(values)].tolist()
    assert math.isnan(nan)
    assert rest == [math.inf, -math.inf, math.inf, 0.0, 0.0]


def test_equal_series_are_kept_once_and_nothing_packs():
    packer = Packer()
    assert packer.packed()["count"] == 0
    assert packer.add(np.arange(9)) == packer.add(np.arange(9)) == (0, 9)
    assert packer.packed()["count"] == 9
