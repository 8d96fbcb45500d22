"""The power law of optima in the width: its misfit and its robustness."""

import math

import numpy as np
import pytest
from scipy import stats

from mupwd.transfer import Optimum, fit_optimum, transfer_law

WIDTHS = (32, 64, 128, 256)


def optima(rng, slope=-0.4, off=(0.0, 0.0, 0.0, 0.0), kappa=0.0, noise=0.01, widths=WIDTHS):
    found = {}
    for width, extra in zip(widths, off, strict=False):
        doublings = math.log2(width / 32)
        at, curvature = -5.3 + slope * doublings + extra, 0.05 * 2 ** (kappa * doublings)
        found[width] = fit_optimum(
            {
                2.0**k: {seed: curvature * (k - at) ** 2 + noise * rng.normal() for seed in range(3)}
                for k in range(-10, -1)
            }
        )
    return found


def test_a_law_without_noise_is_read_off():
    rng = np.random.default_rng(0)
    # An offset of (e, -e, -e, e) has no part along any line: its root mean square over 2 is e * sqrt(2).
    law = transfer_law(optima(rng, off=(0.1, -0.1, -0.1, 0.1), kappa=0.5, noise=0.0))
    assert law.fit_error.value == pytest.approx(0.1 * math.sqrt(2))
    assert law.fit_error.interval == pytest.approx((0.1 * math.sqrt(2),) * 2, rel=1e-3)
    assert law.robustness.value == pytest.approx(0.5)
    assert law.robustness.interval == pytest.approx((0.5, 0.5), abs=1e-6)
    assert law.missing == {}


@pytest.mark.parametrize("e", [0.0, 0.3])
def test_intervals_of_the_fit_error_hold_the_planted_one(e):
    rng, held = np.random.default_rng(1), []
    for _ in range(100):
        low, high = transfer_law(optima(rng, off=(e, -e, -e, e))).fit_error.interval
        held.append(low <= e * math.sqrt(2) <= high)
    # 95% of 100, with four standard errors of room below.
    assert np.mean(held) >= 0.86
    assert e == 0 or low > 0


def test_intervals_of_the_robustness_hold_the_planted_one():
    rng, held = np.random.default_rng(2), []
    for _ in range(150):
        low, high = transfer_law(optima(rng, kappa=-0.5)).robustness.interval
        held.append(low <= -0.5 <= high)
    assert 0.87 <= np.mean(held) <= 1.0
    assert high < 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "three widths or more are needed, there are 2"),
        ({128: Optimum(-9.0, None, "low", -9.0)}, "width 128: at the edge of the grid: extend it"),
        ({128: Optimum(-9.0, (-10.0, -8.0), "flat", -9.0)}, "width 128: no minimum that curves upwards"),
        ({128: Optimum(-9.0, None, None, -9.0, curvature=1.0)}, "width 128: no interval: add seeds"),
    ],
)
def test_says_why_there_is_no_law(change, reason):
    law = transfer_law(optima(np.random.default_rng(0), widths=(32, 64)) | change)
    assert (law.fit_error, law.robustness) == (None, None)
    assert reason in law.missing["fit_error"]
    assert reason in law.missing["robustness"]


def test_a_curvature_that_may_be_0_has_no_exponent():
    rng = np.random.default_rng(3)
    for _ in range(20):
        law = transfer_law(optima(rng, noise=0.5))
        if "may be 0" in law.missing.get("robustness", ""):
            assert law.robustness is None
            return
    pytest.fail("no draw of 20 had a curvature within noise of 0")


@pytest.mark.parametrize("misfit", [0.0, 0.02, 1.0])
def test_the_interval_of_the_fit_error_is_that_of_the_noncentral_chi_square(misfit):
    """Its ends are the misfits under which one as large as was seen is as improbable as the level says."""
    half, level = 0.05, 0.9
    at = {w: -5.0 - k + misfit * sign for k, (w, sign) in enumerate(zip(WIDTHS, (1, -1, -1, 1), strict=True))}
    known = {w: Optimum(x, (x - half, x + half), None, x, curvature=1.0) for w, x in at.items()}
    found = transfer_law(known, level=level).fit_error
    freedom, variance = 2, (half / 1.959964) ** 2
    statistic = 4 * misfit**2 / variance
    for end, tail in zip(found.interval, (0.95, 0.05), strict=True):
        noncentrality = end**2 * freedom / variance
        if end == 0:
            assert stats.chi2.cdf(statistic, freedom) <= tail
        else:
            assert stats.ncx2.cdf(statistic, freedom, noncentrality) == pytest.approx(tail, abs=1e-3)


def test_optima_without_an_error_have_a_misfit_without_one():
    """As optima of losses without noise have."""
    known = {
        w: Optimum(x, (x, x), None, x, curvature=1.0)
        for w, x in zip(WIDTHS, (-4.9, -6.1, -7.1, -7.9), strict=True)
    }
    found = transfer_law(known).fit_error
    assert found.interval == (found.value, found.value)
    assert found.value == pytest.approx(0.1 * math.sqrt(2))
