"""Differences of losses at infinite width: planted limits are held, and reasons are given where there is none."""

import math

import numpy as np
import pytest

from mupwd.transfer import Estimate, infinite_width
from mupwd.transfer.limits import penalties


def test_differences_at_infinite_width_hold_the_planted_limit():
    rng, held = np.random.default_rng(4), []
    for _ in range(300):
        values = {}
        for width in (32, 64, 128):
            value = 0.05 + 1.5 / width + 0.01 * rng.normal()
            values[width] = Estimate(value, (value - 0.0196, value + 0.0196))
        low, high = infinite_width(values).interval
        held.append(low <= 0.05 <= high)
    assert np.mean(held) >= 0.90


def test_scatter_about_the_law_widens_the_interval():
    def at(middle):
        values = {32: 0.3, 64: middle, 128: 0.15}
        return infinite_width(
            {width: Estimate(one, (one - 0.01, one + 0.01)) for width, one in values.items()}
        )

    assert np.ptp(at(0.3).interval) > 2 * np.ptp(at(0.2).interval)


def test_infinite_width_needs_three_finite_differences():
    one = Estimate(0.1, None)
    constant = infinite_width({32: one, 64: one, 128: one})
    assert (constant.value, constant.interval) == (pytest.approx(0.1), None)
    with pytest.raises(ValueError, match=r"three widths or more, found .* at 32, .* at 64"):
        infinite_width({32: one, 64: one})
    with pytest.raises(ValueError, match="inf at 128"):
        infinite_width({32: one, 64: one, 128: Estimate(math.inf, None)})


def best(limit, rng, widths=(32, 64, 128), seeds=(0, 1, 2)):
    return {
        width: {seed: 2 + limit + 8 / width + 0.1 * seed + 0.001 * rng.normal() for seed in seeds}
        for width in widths
    }


def test_recipes_are_compared_with_the_best_at_the_target():
    rng = np.random.default_rng(0)
    found = penalties({"bad": best(0.2, rng), "good": best(0.0, rng)})
    low, high = found["bad"].interval
    assert low <= 0.2 <= high
    assert high - low < 0.05
    assert found["good"] == "the other recipes are compared with this one"


def test_seeds_that_are_not_common_and_widths_that_are_too_few_are_said():
    rng = np.random.default_rng(0)
    assert "no other recipe" in penalties({"one": best(0.0, rng)})["one"]
    two = penalties({"bad": best(0.2, rng, widths=(32, 64)), "good": best(0.0, rng)})
    assert two["bad"] == "three widths or more are needed, there are 2"
    apart = penalties({"bad": best(0.2, rng, seeds=(7,)), "good": best(0.0, rng)})
    assert "no finite difference at width 32, 64, 128: run the pairs" in apart["bad"]
    assert "share no width" in penalties({"a": best(0.2, rng), "b": best(0.0, rng, widths=(7,))})["a"]


@pytest.mark.parametrize("off", [0.0, 0.2])
def test_the_interval_at_infinite_width_is_that_of_the_weighted_line(off):
    """Errors go through the line as its coefficients say, and grow by the scatter where that is larger than 1."""
    halves = {32: 0.01, 64: 0.03, 128: 0.02, 256: 0.05}
    bump = dict(zip(halves, (1.0, -1.0, -1.0, 1.0), strict=True))
    values = {w: 0.1 + 3 / w + off * bump[w] for w in halves}
    found = infinite_width({w: Estimate(v, (v - halves[w], v + halves[w])) for w, v in values.items()})
    x = np.array([[1.0, 1 / w] for w in halves])
    to_limit = np.linalg.inv(x.T @ x) @ x.T
    y = np.array(list(values.values()))
    sizes = np.array(list(halves.values()))
    residuals = (y - x @ (to_limit @ y)) / (sizes / 1.959964)
    scatter = max(1.0, math.sqrt(residuals @ residuals / (len(y) - 2)))
    half = math.sqrt(np.sum((to_limit[0] * sizes) ** 2)) * scatter
    assert (scatter > 1) == (off > 0)
    assert found.value == pytest.approx(to_limit[0] @ y)
    assert found.interval == pytest.approx((found.value - half, found.value + half), rel=1e-4)


def test_a_difference_without_an_error_is_no_division_by_it():
    """A width at which two recipes have the very same trials."""
    exact = {w: Estimate(0.1 + 3 / w, (0.1 + 3 / w,) * 2) for w in (32, 64, 128)}
    assert infinite_width(exact).interval == pytest.approx((0.1, 0.1))
