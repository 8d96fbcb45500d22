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
