"""A whole sweep over widths, judged."""

import json
import math

import pytest
from helpers.synthetic import BEST_DECAY, best_rate, observation

from mupwd.transfer import as_json, recipe_gain, scorecard

WIDTHS = (32, 64, 128)


@pytest.fixture(scope="module")
def observations():
    rates, decays = [2.0**k for k in range(-10, -2)], [2.0**k for k in (-6, -4, -2, 0)]
    return [
        observation(recipe, width, rate, decay, seed)
        for recipe in ("stays", "moves")
        for width in WIDTHS
        for rate in rates
        for decay in decays
        for seed in (0, 1, 2)
    ]


@pytest.fixture(scope="module")
def scores(observations):
    return scorecard(observations)


@pytest.mark.parametrize("recipe", ["stays", "moves"])
def test_optima_are_where_they_were_planted(scores, recipe):
    for width, one in scores[recipe].widths.items():
        for optimum, planted in (
            (one.learning_rate.optimum, best_rate(recipe, width)),
            (one.weight_decay.optimum, BEST_DECAY),
        ):
            low, high = optimum.interval
            # Wider than the intervals: twelve of them are looked at.
            assert low - 0.15 <= planted <= high + 0.15


def test_verdicts(scores):
    assert scores["stays"].learning_rate_drift.verdict == "transfers"
    assert scores["moves"].learning_rate_drift.verdict == "drifts"
    assert scores["moves"].learning_rate_drift.slope == pytest.approx(-1, abs=0.1)
    assert scores["stays"].weight_decay_drift.verdict == "transfers"


def test_regret_and_gain(scores):
    assert scores["stays"].tuned == (2.0**-5, 2.0**-2)
    assert scores["stays"].regret.within_noise
    # The optimum is 2.2 octaves away from the tuned 2^-5 at the target, and 0.2 from the best of the grid.
    expected = 0.03 * (2.2**2 - 0.2**2)
    assert scores["moves"].regret.value == pytest.approx(expected, abs=0.01)
    gain = recipe_gain(scores["stays"], scores["moves"])
    assert gain.interval[1] < 0


def test_a_given_pair_is_transferred(observations):
    other = (2.0**-7, 2.0**-4)
    score = scorecard(observations, tuned={"stays": other})["stays"]
    assert score.tuned == other
    assert score.regret.value > 0.05
    assert score.widths[128].learning_rate.held == 2.0**-4


def test_becomes_json(scores):
    text = json.dumps(as_json(scores), allow_nan=True)
    back = json.loads(text)
    assert back["moves"]["widths"]["128"]["learning_rate"]["optimum"]["log2"] == pytest.approx(
        scores["moves"].widths[128].learning_rate.optimum.log2
    )
    assert any(
        math.isinf(point["mean"]) for point in back["moves"]["widths"]["128"]["learning_rate"]["points"]
    )


def test_one_width_is_refused(observations):
    with pytest.raises(ValueError, match="two widths or more for recipe 'stays'"):
        scorecard(one for one in observations if one.recipe == "stays" and one.width == 32)


def test_targets_that_differ_are_not_compared(observations, scores):
    narrow = scorecard(one for one in observations if one.width < 128)
    with pytest.raises(ValueError, match="targets differ: 128 and 64"):
        recipe_gain(scores["stays"], narrow["moves"])
