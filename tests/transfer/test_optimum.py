"""Minima of curves: planted ones are found, with intervals that hold them as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mupwd.transfer import fit_optimum


def curve(at, curvature, noise, rng, lowest=-10, highest=-2, near=1.5, seeds=3):
    return {
        2.0**k: {
            seed: curvature * (k - at) ** 2 + 0.1 * seed + noise * rng.normal()
            for seed in range(seeds if abs(k - at) < near else 1)
        }
        for k in range(lowest, highest + 1)
    }


@given(st.floats(-8, -4), st.floats(0.01, 1.0))
@settings(max_examples=40, deadline=None)
def test_recovers_a_planted_minimum_without_noise(at, curvature):
    optimum = fit_optimum(curve(at, curvature, 0.0, np.random.default_rng(0)))
    assert optimum.edge is None
    assert optimum.log2 == pytest.approx(at, abs=1e-6)
    assert optimum.interval == pytest.approx((at, at), abs=1e-6)


@pytest.mark.parametrize(("near", "seeds"), [(1.5, 3), (0.0, 1)])
def test_intervals_hold_the_planted_minimum_as_often_as_they_say(near, seeds):
    rng = np.random.default_rng(1)
    held = []
    for _ in range(400):
        at = rng.uniform(-7, -5)
        optimum = fit_optimum(curve(at, 0.05, 0.02, rng, near=near, seeds=seeds))
        assert optimum.interval is not None
        held.append(optimum.interval[0] <= at <= optimum.interval[1])
    # 95% of 400, with four standard errors of room.
    assert 0.91 <= np.mean(held) <= 0.99


def test_more_noise_gives_a_wider_interval():
    widths = []
    for noise in (0.001, 0.01):
        optimum = fit_optimum(curve(-6.3, 0.05, noise, np.random.default_rng(2)))
        assert optimum.interval is not None
        widths.append(optimum.interval[1] - optimum.interval[0])
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize(("at", "edge", "best"), [(-12.0, "low", -10.0), (0.0, "high", -2.0)])
def test_an_optimum_at_the_edge_is_said_to_be_there(at, edge, best):
    optimum = fit_optimum(curve(at, 0.05, 0.001, np.random.default_rng(3), near=0))
    assert (optimum.edge, optimum.best, optimum.interval) == (edge, best, None)


def test_a_seed_that_ran_only_near_the_optimum_does_not_move_it():
    losses = curve(-6.3, 0.05, 0.0, np.random.default_rng(0))
    for seeds in losses.values():
        if 1 in seeds:
            seeds[1] += 5.0
    assert fit_optimum(losses).log2 == pytest.approx(-6.3)


def test_diverged_trials_bound_the_minimum_from_above():
    losses = {2.0**k: {0: 0.05 * (k + 5.4) ** 2} for k in range(-9, -4)}
    losses |= {2.0**k: {0: math.nan} for k in range(-4, -2)}
    optimum = fit_optimum(losses)
    assert optimum.edge is None
    assert optimum.log2 == pytest.approx(-5.4)


def test_one_trial_per_value_and_three_values_leave_the_noise_unknown():
    optimum = fit_optimum({2.0**k: {0: (k + 6.2) ** 2} for k in (-7, -6, -5)})
    assert optimum.log2 == pytest.approx(-6.2)
    assert optimum.interval is None


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({1.0: {0: 1.0}, 2.0: {0: 2.0}}, "at least three positive values"),
        ({0.0: {0: 1.0}, 1.0: {0: 2.0}, 2.0: {0: 3.0}}, "at least three positive values"),
        ({1.0: {0: math.nan}, 2.0: {0: math.inf}, 4.0: {0: math.nan}}, "diverged; lower the learning rate"),
    ],
)
def test_refuses_what_has_no_minimum(losses, message):
    with pytest.raises(ValueError, match=message):
        fit_optimum(losses)


def test_the_interval_ends_where_the_loss_is_clearly_worse():
    # Two values that noise does not tell apart, between two that are far off.
    rng = np.random.default_rng(0)
    losses = {
        2.0**k: {seed: loss + 0.01 * rng.normal() for seed in range(3)}
        for k, loss in ((-8, 1.06), (-6, 1.0), (-4, 1.002), (-2, 1.5))
    }
    optimum = fit_optimum(losses)
    assert optimum.interval is not None
    assert -8 <= optimum.interval[0] < optimum.interval[1] <= -2


def test_a_grid_coarser_than_the_window_takes_the_neighbours():
    """Three octaves apart, nothing but the best value lies within two."""
    optimum = fit_optimum({2.0**k: {0: (k + 5.5) ** 2, 1: (k + 5.5) ** 2 + 0.1} for k in (-11, -8, -5, -2)})
    assert optimum.log2 == pytest.approx(-5.5)
    assert optimum.edge is None


def test_a_neighbour_that_diverged_leaves_too_few_for_a_parabola():
    """The minimum lies between the best value's neighbours; where, three points would say."""
    losses = {2.0**-8: {0: 1.1}, 2.0**-6: {0: 1.0}, 2.0**-5: {0: math.inf}}
    optimum = fit_optimum(losses)
    assert (optimum.log2, optimum.interval, optimum.edge) == (-6.0, (-8.0, -5.0), "flat")


def test_a_parabola_that_curves_downwards_is_flat_whatever_the_noise():
    """A dip of one value in a hill: the best value is named, and its interval ends where losses are clearly worse."""
    heights = {
        -9: 1.5,
        -8: 1.0,
        -7.5: 1.2,
        -7: 1.3,
        -6.5: 1.2,
        -6: 0.98,
        -5.5: 1.2,
        -5: 1.3,
        -4: 1.0,
        -3: 1.5,
    }
    rng = np.random.default_rng(0)
    losses = {2.0**k: {seed: loss + 0.001 * rng.normal() for seed in range(3)} for k, loss in heights.items()}
    optimum = fit_optimum(losses)
    assert (optimum.log2, optimum.edge) == (-6.0, "flat")
    assert optimum.curvature < 0


def test_one_degree_of_freedom_is_enough_for_an_interval():
    """Four values of one seed, three numbers of a parabola."""
    heights = {-8: 1.31, -7: 1.0, -6: 0.9, -5: 1.02, -4: 1.28}
    optimum = fit_optimum({2.0**k: {0: loss} for k, loss in heights.items() if k < -4}, window=1.0)
    assert optimum.interval is None
    optimum = fit_optimum({2.0**k: {0: loss} for k, loss in heights.items()}, window=2.0)
    assert optimum.interval is not None
    assert optimum.noise > 0


def test_both_ends_of_the_interval_are_the_nearest_values_that_are_clearly_worse():
    """Where a parabola can hardly be seen, what is clearly worse than the best bounds the minimum, on either side."""
    rng = np.random.default_rng(1)

    def losses(walls):
        return {
            2.0**k: {
                seed: (1.0 if walls[0] < k < walls[1] else 1.2) + 0.01 * rng.normal() for seed in range(12)
            }
            for k in range(-12, 1)
        }

    for walls in ((-9, -3), (-8, -4)):
        optimum = fit_optimum(losses(walls), window=1.0)
        low, high = optimum.interval
        assert walls[0] <= low < high <= walls[1]
        assert low == walls[0] or high == walls[1]


def test_the_same_trials_have_the_same_interval():
    """Draws are of a fixed stream: a report that is made again says the same."""
    losses = curve(-6.3, 0.05, 0.02, np.random.default_rng(0))
    assert fit_optimum(losses) == fit_optimum(losses)
