"""Transfer against tuning at the target at equal compute: exact means over choices, intervals that hold."""

import itertools
import math

import numpy as np
import pytest

from mupwd.transfer import Observation, tuning_gain

WIDTHS = (32, 128)


def trials(noise=0.0, seeds=(0, 1), rng=None, drift=0.0, diverged=()):
    rng = rng or np.random.default_rng(0)
    return [
        Observation(
            "mine",
            width,
            2.0**k,
            0.1,
            seed,
            math.nan
            if width == 128 and k in diverged
            else 2 + 0.1 * (k + 7 + drift * (width == 128)) ** 2 + 0.3 * seed + noise * rng.normal(),
        )
        for width in WIDTHS
        for k in range(-11, -3)
        for seed in seeds
    ]


def test_the_mean_is_that_over_all_choices():
    losses = [2 + 0.1 * (k + 7) ** 2 for k in range(-11, -3)]
    for cost, bought in ((17.0, 1), (16.0, 2), (8.0, 3), (16 / 3, 4), (2.0, 9)):
        found = tuning_gain(trials(), {32: 1.0, 128: cost})["mine"]
        choices = list(itertools.combinations(losses, min(bought, 8)))
        expected = np.mean([min(one) for one in choices])
        assert (found.bought, found.available) == (bought, 8)
        assert found.expected == pytest.approx(expected + 0.15)
        assert found.gain.value == pytest.approx(expected - 2.0)
        assert found.all_diverged == 0


def test_diverged_trials_are_bought_too():
    found = tuning_gain(trials(diverged=(-6, -5, -4)), {32: 1.0, 128: 16.0})["mine"]
    losses = [2 + 0.1 * (k + 7) ** 2 if k < -6 else math.inf for k in range(-11, -3)]
    lowest = [min(one) for one in itertools.combinations(losses, 2)]
    assert found.all_diverged == pytest.approx(3 / 28)
    assert found.expected == pytest.approx(np.mean([one for one in lowest if math.isfinite(one)]) + 0.15)


def test_a_pair_that_does_not_transfer_loses():
    found = tuning_gain(trials(drift=3.0), {32: 1.0, 128: 2.0})["mine"]
    assert found.gain.value == pytest.approx(-0.9)
    diverged = tuning_gain(trials(diverged=(-7,)), {32: 1.0, 128: 2.0})["mine"].gain
    assert (diverged.value, diverged.interval) == (-math.inf, None)


def test_a_given_pair_is_compared():
    found = tuning_gain(trials(), {32: 1.0, 128: 2.0}, tuned={"mine": (2.0**-9, 0.1)})["mine"]
    assert found.gain.value == pytest.approx(-0.4)


def test_seeds_that_ran_only_near_the_optimum_are_not_a_grid():
    some = [one for one in trials(noise=0.01) if one.seed == 0 or abs(math.log2(one.learning_rate) + 7) < 1.5]
    found = tuning_gain(some, {32: 1.0, 128: 11.0})["mine"]
    first = tuning_gain([one for one in some if one.seed == 0], {32: 1.0, 128: 8.0})["mine"]
    assert found.available == 8
    assert (found.bought, found.expected) == (first.bought, first.expected)
    assert first.gain.interval is None
    low, high = found.gain.interval
    assert low < found.gain.value < high


@pytest.mark.parametrize("seeds", [(0, 1), (0, 1, 2, 3)])
def test_intervals_hold_the_planted_gain_as_often_as_they_say(seeds):
    costs, pair = {32: 1.0, 128: 4.0 * len(seeds)}, {"mine": (2.0**-8, 0.1)}
    truth = tuning_gain(trials(seeds=seeds), costs, pair)["mine"].gain.value
    rng, held = np.random.default_rng(1), []
    for _ in range(200):
        found = tuning_gain(trials(noise=0.01, seeds=seeds, rng=rng), costs, pair)["mine"]
        held.append(found.gain.interval[0] <= truth <= found.gain.interval[1])
    # 95% of 200, with four standard errors of room.
    assert 0.88 <= np.mean(held) <= 1.0


@pytest.mark.parametrize(
    ("some", "costs", "message"),
    [
        (trials()[:16], {32: 1.0}, "two widths or more for recipe 'mine', found 32"),
        (trials(), {32: 1.0}, "the cost of one trial at width 128, above 0; found {32: 1.0}"),
        (trials(), {32: 0.0, 128: 1.0}, "the cost of one trial at width 32, above 0"),
        (
            trials(diverged=range(-11, -3)),
            {32: 1.0, 128: 1.0},
            "all trials of recipe 'mine' at width 128 diverged",
        ),
    ],
)
def test_refuses_what_does_not_compare(some, costs, message):
    with pytest.raises(ValueError, match=message):
        tuning_gain(some, costs)


def test_a_seed_with_a_pair_fewer_is_not_of_the_grid():
    some = [one for one in trials() if one.width == 32 or one.learning_rate != 2**-7 or one.seed == 1]
    found = tuning_gain(some, {32: 1.0, 128: 1.0})["mine"]
    assert (found.available, found.expected) == (8, pytest.approx(2.3))


def test_the_transferred_pair_must_have_run_with_the_grid():
    some = [one for one in trials() if one.width == 32 or one.learning_rate != 2**-7]
    with pytest.raises(ValueError, match="did not run at width 128 with seed 0, 1, as the other pairs did"):
        tuning_gain(some, {32: 1.0, 128: 1.0})
