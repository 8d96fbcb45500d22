"""The learning rate's sensitivity: known means, honest about divergence, intervals that hold."""

import math

import numpy as np
import pytest

from mupwd.transfer import learning_rate_sensitivity


def sweep(noise=0.0, seeds=2, rng=None, rates=range(-10, -3)):
    rng = rng or np.random.default_rng(0)
    return {
        2.0**k: {seed: 2 + 0.1 * (k + 7) ** 2 + 0.5 * seed + noise * rng.normal() for seed in range(seeds)}
        for k in rates
    }


def test_is_the_mean_excess_over_an_even_grid():
    # 0.1 * (9 + 4 + 1 + 0 + 1 + 4 + 9) / 7
    assert learning_rate_sensitivity(sweep()).value == pytest.approx(0.4)


def test_losses_above_the_initial_one_count_as_it():
    # 2.25 (the seeds' mean) + 0.5: of the excesses 0.9, 0.4, 0.1, 0, 0.1, 0.4, 0.9 the outer two become 0.5.
    assert learning_rate_sensitivity(sweep(), initial_loss=2.75).value == pytest.approx(2 / 7)


def test_diverged_trials_count_as_the_initial_loss_and_need_it():
    losses = sweep()
    losses[2.0**-4][1] = math.nan
    found = learning_rate_sensitivity(losses, initial_loss=5.0)
    assert found.value == pytest.approx((0.4 * 7 - 0.9 + 2.75) / 7)
    with pytest.raises(ValueError, match=r"trials diverged at \[0.0625\]; give initial_loss"):
        learning_rate_sensitivity(losses)


def test_a_refined_middle_does_not_hide_the_flanks():
    fine = sweep(rates=np.arange(-8, -6 + 0.01, 1 / 8)) | sweep()
    assert learning_rate_sensitivity(fine).value == pytest.approx(0.4, abs=0.03)
    assert np.mean([0.1 * (math.log2(rate) + 7) ** 2 for rate in fine]) < 0.2


@pytest.mark.parametrize("ceiling", [None, 2.7])
def test_intervals_hold_the_planted_value_as_often_as_they_say(ceiling):
    rng, truth = np.random.default_rng(1), learning_rate_sensitivity(sweep(), ceiling).value
    held = []
    for _ in range(300):
        low, high = learning_rate_sensitivity(sweep(noise=0.01, rng=rng), ceiling).interval
        held.append(low <= truth <= high)
    # 95% of 300, with four standard errors of room.
    assert 0.90 <= np.mean(held) <= 0.995


def test_one_seed_has_no_interval():
    assert learning_rate_sensitivity(sweep(seeds=1)).interval is None


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({0.1: {0: 1.0}}, "two learning rates or more above 0"),
        ({0.0: {0: 1.0}, 0.1: {0: 1.0}}, "two learning rates or more above 0"),
        ({0.1: {0: math.inf}, 0.2: {0: math.nan}}, "diverged; lower the learning rates"),
    ],
)
def test_refuses_what_is_no_sweep(losses, message):
    with pytest.raises(ValueError, match=message):
        learning_rate_sensitivity(losses, initial_loss=5.0)
