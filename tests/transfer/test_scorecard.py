"""A whole sweep over widths, judged."""

import dataclasses
import json
import math

import pytest
from helpers.synthetic import BEST_DECAY, best_rate, observation

from mupwd.transfer import as_json, extensions, recipe_gain, scorecard

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


def test_joint_optima_are_where_they_were_planted(scores):
    for recipe in ("stays", "moves"):
        score = scores[recipe]
        for width, one in score.widths.items():
            for optimum, planted in (
                (one.joint.learning_rate, best_rate(recipe, width)),
                (one.joint.weight_decay, BEST_DECAY),
            ):
                low, high = optimum.interval
                # Wider than the intervals: twelve of them are looked at.
                assert low - 0.15 <= planted <= high + 0.15
    assert scores["stays"].joint_learning_rate_drift.verdict == "transfers"
    assert scores["moves"].joint_learning_rate_drift.verdict == "drifts"
    assert scores["moves"].joint_learning_rate_drift.slope == pytest.approx(-1, abs=0.1)


def test_an_edge_of_one_hyperparameter_leaves_both_joint_drifts_open(observations):
    score = scorecard(one for one in observations if one.weight_decay <= 2.0**-2)["stays"]
    for drift in (score.joint_learning_rate_drift, score.joint_weight_decay_drift):
        assert (drift.verdict, drift.interval) == ("undecided", None)
        assert "at width 64 the best pair has the highest weight decay of the grid: extend it" in drift.advice
    assert score.learning_rate_drift.verdict == "transfers"


def test_laws_and_limits(scores):
    for score in scores.values():
        for law in (score.learning_rate_law, score.weight_decay_law):
            assert law.missing == {}
            assert law.fit_error.interval[0] == 0  # planted on the law
            assert law.robustness.interval[0] - 0.2 <= 0 <= law.robustness.interval[1] + 0.2
    assert scores["stays"].asymptotic_regret.interval[0] <= 0.01
    assert scores["stays"].regrets[32].value == 0
    assert scores["moves"].asymptotic_regret is None
    assert "an optimum drifts" in scores["moves"].missing["asymptotic_regret"]
    # Best pairs of the grid are 0.2 octaves from the optimum under both.
    compared = [score.asymptotic_penalty for score in scores.values() if score.asymptotic_penalty]
    assert len(compared) == 1
    assert abs(compared[0].value) < 0.02


def test_what_needs_more_is_missing_with_its_reason(observations, scores):
    assert scores["stays"].tuning_gain is None
    assert "cost of a trial per width is not given" in scores["stays"].missing["tuning_gain"]
    # The highest learning rates diverged, and the loss of an untrained model is not known.
    assert scores["moves"].widths[128].sensitivity is None
    assert "give initial_loss" in scores["moves"].widths[128].missing["sensitivity"]
    narrow = scorecard(one for one in observations if one.width < 128 and one.weight_decay == 2.0**-2)[
        "stays"
    ]
    assert narrow.weight_decay_drift is None
    assert narrow.missing["weight_decay_drift"] == "fewer than three values ran at width 32, 64"
    assert narrow.missing["joint_weight_decay_drift"] == "no joint optimum at width 32, 64"
    assert narrow.learning_rate_law.missing["fit_error"] == "three widths or more are needed, there are 2"
    assert narrow.missing["asymptotic_regret"] == "three widths or more are needed, there are 2"


def test_costs_and_the_initial_loss_complete_it(observations):
    scores = scorecard(observations, initial_loss=math.log(256), costs={32: 1.0, 64: 2.0, 128: 8.0})
    assert scores["stays"].tuning_gain.bought == 1 + 8 * 4 * 3 // 8
    assert scores["stays"].tuning_gain.gain.value > 0 > scores["moves"].tuning_gain.gain.value
    for width, one in scores["moves"].widths.items():
        low, high = one.sensitivity.interval
        assert 0 < low < one.sensitivity.value < high
        assert one.sensitivity.value > scores["stays"].widths[width].sensitivity.value or width == 32
    with pytest.raises(ValueError, match="at width 128, above 0"):
        scorecard(observations, costs={32: 1.0})


@pytest.fixture(scope="module")
def with_stopped(observations):
    """Half an octave beyond its optimum's neighbours every trial was stopped: its loss is not known."""
    return [
        dataclasses.replace(one, loss=0.0, stopped=True)
        if abs(math.log2(one.learning_rate) - best_rate(one.recipe, one.width)) > 1.5
        else one
        for one in observations
    ]


def test_optima_next_to_stopped_trials_are_not_at_an_edge(with_stopped, scores):
    found = scorecard(with_stopped, {name: one.tuned for name, one in scores.items()}, initial_loss=5.0)[
        "stays"
    ]
    for width, one in found.widths.items():
        optimum = one.learning_rate.optimum
        assert optimum.edge is None
        assert optimum.interval[0] - 0.15 <= best_rate("stays", width) <= optimum.interval[1] + 0.15
        assert one.best == scores["stays"].widths[width].best
        assert one.joint.learning_rate.edge is None
    assert found.learning_rate_drift.verdict == scores["stays"].learning_rate_drift.verdict
    assert extensions(with_stopped).get("stays") is None


def test_averages_over_a_grid_are_missing_where_it_did_not_run_to_its_end(with_stopped, observations):
    costs = {32: 1.0, 64: 4.0, 128: 16.0}
    score = scorecard(with_stopped, initial_loss=5.0, costs=costs)["stays"]
    assert score.tuning_gain is None
    assert "some trials were stopped early" in score.missing["tuning_gain"]
    assert all("some trials were stopped" in one.missing["sensitivity"] for one in score.widths.values())
    chosen = scorecard(observations, initial_loss=5.0, costs=costs, grid=False)["stays"]
    assert "were chosen by their losses" in chosen.missing["tuning_gain"]
    assert "were chosen by their losses" in chosen.widths[64].missing["sensitivity"]
    assert scorecard(observations, initial_loss=5.0, costs=costs)["stays"].tuning_gain is not None


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


def test_json_has_every_number_or_its_reason(observations):
    scores = scorecard(observations, initial_loss=math.log(256), costs={32: 1.0, 64: 2.0, 128: 8.0})
    back = json.loads(json.dumps(as_json(scores), allow_nan=True))
    joint = back["stays"]["widths"]["64"]["joint"]
    assert joint["weight_decay"]["interval"] == list(scores["stays"].widths[64].joint.weight_decay.interval)
    assert back["stays"]["tuning_gain"]["gain"]["value"] == scores["stays"].tuning_gain.gain.value
    assert back["stays"]["learning_rate_law"]["robustness"]["interval"]
    for recipe in back.values():
        for part in (recipe, *recipe["widths"].values()):
            assert all(value is not None or name in part["missing"] for name, value in part.items())


def test_one_width_alone_says_what_was_tuned_and_nothing_of_transfer(observations, scores):
    some = [one for one in observations if one.recipe == "stays" and one.width == 32]
    score = scorecard(some, costs={32: 1.0})["stays"]
    assert (score.tuned_at, score.target) == (32, 32)
    assert score.tuned == scores["stays"].tuned
    assert score.widths[32] == scores["stays"].widths[32]
    unknown = [
        *(f"{joint}{axis}_drift" for joint in ("", "joint_") for axis in ("learning_rate", "weight_decay")),
        *("learning_rate_law", "weight_decay_law", "asymptotic_regret", "tuning_gain"),
    ]
    assert [getattr(score, name) for name in unknown] == [None] * len(unknown)
    assert {score.missing[name] for name in unknown} == {"there is one width alone"}


def test_targets_that_differ_are_not_compared(observations, scores):
    narrow = scorecard(one for one in observations if one.width < 128)
    with pytest.raises(ValueError, match="targets differ: 128 and 64"):
        recipe_gain(scores["stays"], narrow["moves"])


def test_the_regret_is_the_targets(scores):
    """Of the widest width that ran, not of another."""
    for score in scores.values():
        assert score.regret == score.regrets[score.target]
        assert score.regret != score.regrets[64]
