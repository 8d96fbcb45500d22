"""The drift of optima: published sweeps come out as they should, and so do planted ones."""

import math

import numpy as np
import pytest

from mupwd.transfer import Optimum, drift, fit_optimum, grid_drift


def planted(slope, noise=0.005, widths=(32, 64, 128), seed=0):
    rng = np.random.default_rng(seed)
    return {
        width: fit_optimum(
            {
                2.0**k: {
                    s: 0.04 * (k + 5.3 - slope * math.log2(width / 32)) ** 2 + noise * rng.normal()
                    for s in (0, 1)
                }
                for k in range(-10, -1)
            }
        )
        for width in widths
    }


def test_gpt2_without_a_correct_setup_drifts():
    found = grid_drift({96: -9, 192: -10, 384: -11, 768: -11})
    assert found.verdict == "drifts"
    assert found.slope == pytest.approx(-0.7)


def test_megatron_standard_parametrisation_drifts():
    found = grid_drift({128: math.log2(9.77e-4), 2048: math.log2(6.10e-5)})
    assert found.verdict == "drifts"
    assert found.slope == pytest.approx(-1.0, abs=1e-3)


def test_megatron_mup_stays_inside_one_grid_step():
    optima = {width: math.log2(9.77e-4) for width in (128, 256, 512, 1024)} | {2048: math.log2(1.95e-3)}
    found = grid_drift(optima)
    assert found.verdict == "transfers"
    assert found.total == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("slope", "verdict"), [(0.0, "transfers"), (-1.0, "drifts"), (0.8, "drifts")])
def test_planted_drifts_are_found(slope, verdict):
    found = drift(planted(slope))
    assert found.verdict == verdict
    assert found.interval is not None
    assert found.interval[0] <= slope <= found.interval[1]


def test_intervals_of_the_slope_hold_the_planted_one_as_often_as_they_say():
    held = []
    for seed in range(200):
        interval = drift(planted(-0.4, noise=0.01, seed=seed)).interval
        assert interval is not None
        held.append(interval[0] <= -0.4 <= interval[1])
    assert 0.89 <= np.mean(held) <= 1.0


def test_too_much_noise_is_undecided_and_says_what_to_add():
    found = drift(planted(-0.4, noise=0.3))
    assert found.verdict == "undecided"
    assert "add seeds" in found.advice


def test_an_optimum_at_the_edge_is_not_judged_and_the_direction_is_named():
    optima = planted(0.0) | {128: Optimum(-9.0, None, "low", -9.0), 256: Optimum(-2.0, None, "high", -2.0)}
    found = drift(optima)
    assert found.verdict == "undecided"
    assert math.isnan(found.slope)
    assert "at width 128 the best value is the lowest of the grid: extend it to lower" in found.advice
    assert "at width 256 the best value is the highest of the grid: extend it to higher" in found.advice


def test_an_optimum_without_interval_is_undecided():
    found = drift({32: Optimum(-5.0, None, None, -5.0), 64: Optimum(-5.1, None, None, -5.0)})
    assert (found.verdict, found.interval) == ("undecided", None)
    assert found.slope == pytest.approx(-0.1)
    assert "no interval at width 32, 64: add seeds" in found.advice


def test_one_width_is_refused():
    with pytest.raises(ValueError, match="two widths or more"):
        grid_drift({32: -5})


@pytest.mark.parametrize("side", [-1, 1])
def test_an_interval_that_reaches_far_to_one_side_is_undecided(side):
    """A slope of 0 that might be -3, or 3, is not said to transfer."""
    ends = sorted((-5.0 + 0.1 * side, -5.0 - 6 * side))
    found = drift({32: Optimum(-5.0, (-5.01, -4.99), None, -5.0), 64: Optimum(-5.0, tuple(ends), None, -5.0)})
    assert (found.slope, found.verdict) == (0.0, "undecided")


def test_the_same_optima_have_the_same_drift():
    """A report that is made again says the same."""
    known = {32: Optimum(-5.0, (-5.2, -4.8), None, -5.0), 64: Optimum(-5.5, (-5.9, -5.1), None, -5.0)}
    assert drift(known) == drift(known)
    grid = {96: -9, 192: -10, 384: -11, 768: -11}
    assert grid_drift(grid) == grid_drift(grid)
