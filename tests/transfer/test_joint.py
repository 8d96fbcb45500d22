"""Minima over both hyperparameters: planted ones are found, with intervals that hold them as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mupwd.transfer import fit_joint_optimum, joint

RATES, DECAYS = range(-9, -2), range(-4, 4)


def grid(at, noise=0.0, cross=-0.03, seeds=2, rng=None, rates=RATES, decays=DECAYS):
    rng = rng or np.random.default_rng(0)

    def loss(lr, wd):
        x, y = lr - at[0], wd - at[1]
        return 0.05 * x**2 + 0.03 * y**2 + cross * x * y

    return {
        (2.0**lr, 2.0**wd): {seed: loss(lr, wd) + 0.1 * seed + noise * rng.normal() for seed in range(seeds)}
        for lr in rates
        for wd in decays
    }


def fit(table, **options):
    found = fit_joint_optimum(table, **options)
    assert found is not None
    return found


def length(optimum):
    return optimum.interval[1] - optimum.interval[0]


def holds(optimum, planted):
    return optimum.interval[0] <= planted <= optimum.interval[1]


@given(st.floats(-7, -5), st.floats(-1.5, 1.5), st.floats(-0.06, 0.06))
@settings(max_examples=40, deadline=None)
def test_recovers_a_planted_minimum_without_noise(lr, wd, cross):
    found = fit(grid((lr, wd), cross=cross))
    if not found.at_edge:  # a strong cross term moves the best pair of the grid far along the valley
        assert found.learning_rate.log2 == pytest.approx(lr, abs=1e-5)
        assert found.weight_decay.log2 == pytest.approx(wd, abs=1e-5)
        assert found.cross == pytest.approx(cross, abs=1e-6)
        assert (found.learning_rate.edge, found.advice) == (None, "")


@pytest.mark.parametrize(("seeds", "decays"), [(2, DECAYS), (1, range(-4, 5, 2)), (3, range(-6, 7, 3))])
def test_intervals_hold_the_planted_minimum_as_often_as_they_say(seeds, decays):
    rng = np.random.default_rng(1)
    held = []
    for _ in range(300):
        at = rng.uniform(-6.5, -4.5), rng.uniform(-1, 1)
        found = fit(grid(at, noise=0.01, seeds=seeds, rng=rng, decays=decays))
        held.append(
            [
                holds(one, planted)
                for one, planted in zip((found.learning_rate, found.weight_decay), at, strict=True)
            ]
        )
    # 95% of 300, with four standard errors of room below; steps beyond the grid stop few draws.
    assert (np.mean(held, axis=0) >= 0.90).all()
    assert (np.mean(held, axis=0) <= 0.995).all()


def test_intervals_hold_with_more_seeds_near_the_optimum():
    rng = np.random.default_rng(2)
    held = []
    for _ in range(200):
        at = rng.uniform(-6.5, -4.5), rng.uniform(-1, 1)
        table = {
            (rate, decay): {
                seed: loss
                for seed, loss in seeds.items()
                if seed == 0 or max(abs(math.log2(rate) - at[0]), abs(math.log2(decay) - at[1])) < 1.5
            }
            for (rate, decay), seeds in grid(at, noise=0.01, seeds=3, rng=rng).items()
        }
        found = fit(table)
        held.append([holds(found.learning_rate, at[0]), holds(found.weight_decay, at[1])])
    # 95% of 200, with four standard errors of room below.
    assert (np.mean(held, axis=0) >= 0.89).all()


def test_more_noise_gives_wider_intervals():
    narrow, wide = (fit(grid((-5.7, 0.3), noise=noise)) for noise in (0.001, 0.01))
    for axis in ("learning_rate", "weight_decay"):
        ends = [length(getattr(one, axis)) for one in (narrow, wide)]
        assert ends[1] > 3 * ends[0]


@pytest.mark.parametrize(
    ("at", "edges", "words"),
    [
        (
            (-12.0, 0.0),
            ("low", None),
            ["lowest learning rate of the grid: extend it to lower learning rates"],
        ),
        (
            (-6.0, 9.0),
            (None, "high"),
            ["highest weight decay of the grid: extend it to higher weight decays"],
        ),
        (
            (0.0, -9.0),
            ("high", "low"),
            ["extend it to higher learning rates", "extend it to lower weight decays"],
        ),
    ],
)
def test_a_best_pair_at_the_edge_is_not_fitted_and_the_direction_is_named(at, edges, words):
    found = fit(grid(at, cross=0.0))
    assert found.at_edge
    assert (found.learning_rate.edge, found.weight_decay.edge) == edges
    assert found.learning_rate.interval is None
    assert found.weight_decay.interval is None
    assert all(one in found.advice for one in words)


def test_a_cross_of_two_lines_says_nothing_of_both_together():
    table = grid((-6.0, 0.0))
    cross = {pair: seeds for pair, seeds in table.items() if pair[0] == 2**-6 or pair[1] == 1.0}
    assert fit_joint_optimum(cross) is None
    assert fit_joint_optimum({pair: seeds for pair, seeds in table.items() if pair[1] >= 4}) is None


def test_a_saddle_is_said_to_be_flat_and_its_interval_reaches_the_limits():
    # The losses fall along a diagonal; only the best pair itself lies in a small dip.
    table = grid((-6.0, 0.0), noise=0.001, cross=0.2)
    for (rate, decay), seeds in table.items():
        far = max(abs(math.log2(rate) + 6), abs(math.log2(decay)))
        for seed in seeds:
            seeds[seed] += 2.0 * (far > 1) - 0.13 * (far == 0)
    found = fit(table, window=1.0)
    assert found.learning_rate.edge == found.weight_decay.edge == "flat"
    assert found.learning_rate.log2 == -6.0
    assert "do not curve upwards" in found.advice
    assert length(found.learning_rate) > 4


def test_diverged_and_decay_free_trials_are_left_out():
    table = grid((-5.7, 0.3))
    for (rate, _), seeds in table.items():
        if rate >= 2**-4:
            seeds[1] = math.inf
    table |= {(2.0**lr, 0.0): {0: -5.0, 1: -5.0} for lr in RATES}
    found = fit(table)
    assert found.learning_rate.log2 == pytest.approx(-5.7)
    assert found.weight_decay.log2 == pytest.approx(0.3)


def test_as_many_terms_as_trials_leave_the_noise_unknown():
    # Six pairs determine the six numbers of a quadratic.
    pairs = [(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1), (1, 1)]
    table = {(2.0**x, 2.0**y): {0: (x - 0.1) ** 2 + (y + 0.2) ** 2} for x, y in pairs}
    found = fit(table)
    assert found.learning_rate.log2 == pytest.approx(0.1)
    assert found.weight_decay.interval is None
    assert "add seeds" in found.advice


def test_a_grid_that_diverged_is_refused():
    table = {pair: dict.fromkeys(seeds, math.nan) for pair, seeds in grid((-6.0, 0.0)).items()}
    with pytest.raises(ValueError, match="all 56 pairs diverged; lower the learning rate"):
        fit_joint_optimum(table)


def test_the_same_trials_have_the_same_intervals():
    """Draws are of a fixed stream."""
    table = grid((-6.0, 0.0), noise=0.01)
    assert fit_joint_optimum(table) == fit_joint_optimum(table)


def test_at_an_edge_no_trial_is_part_of_a_fit():
    """So the number of trials that the fit rests on is 0."""
    assert fit(grid((-12.0, 0.0))).trials == 0


def test_intervals_end_one_grid_step_beyond_the_grid():
    """An uneven grid: on every side it is the outermost step that counts."""
    rates, decays = (-9, -8, -6, -5, -3), (-4, -3.5, 0, 2, 5)
    rng = np.random.default_rng(3)
    table = {
        (2.0**lr, 2.0**wd): {seed: -0.5 * ((lr, wd) == (-6, 0)) + 3.0 * rng.normal() for seed in range(3)}
        for lr in rates
        for wd in decays
    }
    for pair in table:
        if pair == (2.0**-6, 1.0):
            table[pair] = dict.fromkeys(range(3), -9.0)
    found = fit(table, window=20.0)
    assert found.learning_rate.interval[0] >= -10
    assert found.learning_rate.interval[1] <= -1
    assert found.weight_decay.interval[0] >= -4.5
    assert found.weight_decay.interval[1] <= 8
    drawn = np.concatenate([found.learning_rate.draws, found.weight_decay.draws])
    for limit in (-10, -1, -4.5, 8):
        assert np.isclose(drawn, limit).any()


def test_the_lowest_point_of_any_quadratic_in_a_box():
    """Valleys have their minimum anywhere; of all others no point of the box lies lower than the one that is named."""
    rng = np.random.default_rng(0)
    limits = np.array([[-2.0, 3.0], [-1.0, 4.0]])
    terms = rng.normal(size=(300, 5))
    points, valleys = joint._minima(terms, limits)
    x, y = (axis.ravel() for axis in np.meshgrid(*(np.linspace(*side, 101) for side in limits)))

    def value(term, x, y):
        a, b, c, d, e = term
        return a * x**2 + b * y**2 + c * x * y + d * x + e * y

    for term, point, valley in zip(terms, points, valleys, strict=True):
        a, b, c, d, e = term
        assert valley == (np.linalg.eigvalsh([[2 * a, c], [c, 2 * b]]).min() > 0)
        if valley:
            assert np.allclose([2 * a * point[0] + c * point[1] + d, 2 * b * point[1] + c * point[0] + e], 0)
        else:
            assert (limits[:, 0] <= point).all()
            assert (point <= limits[:, 1]).all()
            assert value(term, *point) <= value(term, x, y).min() + 1e-9
