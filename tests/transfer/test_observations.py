"""Comparisons across seeds: paired, and honest about what one seed can say."""

import math

import numpy as np
import pytest

from mupwd.transfer.observations import (
    Observation,
    best_pair,
    complete_pairs,
    is_whole,
    losses_by_pair,
    mean_difference,
    regret,
    seed_noise,
)


def table(noise=0.0, seeds=3, rng=None):
    rng = rng or np.random.default_rng(0)
    offsets = {seed: rng.normal() for seed in range(seeds)}
    return {
        (2.0**k, 0.1): {
            seed: 0.1 * abs(k + 5) + offset + noise * rng.normal() for seed, offset in offsets.items()
        }
        for k in range(-8, -2)
    }


def test_losses_by_pair_groups_and_marks_divergence():
    seen = [Observation("sp", 32, 0.1, 0.2, 0, 1.5), Observation("sp", 32, 0.1, 0.2, 1, math.nan)]
    assert losses_by_pair(seen) == {(0.1, 0.2): {0: 1.5, 1: math.inf}}


def test_a_trial_that_was_stopped_is_worse_than_all_unless_it_also_ran_to_its_end():
    whole = [Observation("sp", 32, 0.1, 0.2, 0, 1.5), Observation("sp", 32, 0.2, 0.2, 0, 1.7)]
    stopped = [
        Observation("sp", 32, rate, 0.2, 0, 0.5, stopped=True) for rate in (0.1, 0.2, 0.4) for _ in range(2)
    ]
    expected = {(0.1, 0.2): {0: 1.5}, (0.2, 0.2): {0: 1.7}, (0.4, 0.2): {0: math.inf}}
    for order in ([*whole, *stopped], [*stopped, *whole]):
        assert losses_by_pair(order) == expected
        assert not is_whole(order)
    assert is_whole([*whole, *stopped[:4]])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Observation("mup", 32, 0.1, 0.2, 1, 1.0), "expected one recipe and width"),
        (Observation("sp", 64, 0.1, 0.2, 1, 1.0), "expected one recipe and width"),
        (Observation("sp", 32, 0.1, 0.2, 0, 1.0), "comes twice with seed 0"),
    ],
)
def test_losses_by_pair_refuses_what_does_not_compare(other, message):
    with pytest.raises(ValueError, match=message):
        losses_by_pair([Observation("sp", 32, 0.1, 0.2, 0, 1.5), other])


def test_a_lucky_seed_does_not_win():
    losses = table()
    losses[2.0**-8, 0.1] = {0: -100.0}
    assert (2.0**-8, 0.1) not in complete_pairs(losses)
    assert best_pair(losses) == (2.0**-5, 0.1)


def test_no_finite_pair_is_an_error():
    with pytest.raises(ValueError, match="none of those gave a finite loss"):
        best_pair({(0.1, 0.1): {0: math.inf}})


def test_seed_noise_ignores_what_seeds_share():
    noise, freedom = seed_noise(list(complete_pairs(table(noise=0.01)).values()))
    assert freedom == 10
    assert 0.005 < noise < 0.02
    assert seed_noise([np.array([1.0]), np.array([2.0])])[1] == 0


def test_regret_is_what_the_transferred_pair_loses():
    found = regret(table(), (2.0**-3, 0.1))
    assert found.value == pytest.approx(0.2)
    assert not found.within_noise


def test_regret_of_the_best_pair_is_zero_with_its_noise():
    found = regret(table(noise=0.01), (2.0**-5, 0.1))
    assert found.value == 0.0
    assert found.within_noise
    assert found.interval is not None
    assert found.interval[1] > 0.005


def test_regret_intervals_hold_the_true_difference_as_often_as_they_say():
    rng = np.random.default_rng(1)
    held = []
    for _ in range(300):
        interval = regret(table(noise=0.02, rng=rng), (2.0**-3, 0.1)).interval
        assert interval is not None
        held.append(interval[0] <= 0.2 <= interval[1])
    assert 0.90 <= np.mean(held) <= 0.99


def test_regret_of_one_seed_has_no_interval():
    assert regret(table(seeds=1), (2.0**-3, 0.1)).interval is None


def test_regret_needs_the_transferred_pair():
    with pytest.raises(ValueError, match="did not run with every seed at the target"):
        regret(table(), (1.0, 0.1))


def test_mean_difference_pairs_seeds():
    found = mean_difference({0: 1.0, 1: 2.1, 7: 9.0}, {0: 0.5, 1: 1.5, 8: 1.0})
    assert found.value == pytest.approx(0.55)
    assert found.interval is not None
    with pytest.raises(ValueError, match="no seed in common"):
        mean_difference({0: 1.0}, {1: 1.0})
