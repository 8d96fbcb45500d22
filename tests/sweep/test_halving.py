"""Rungs, and what is stopped at them."""

import pytest
from helpers.searches import DECAYS, RATES, halving, result, run
from helpers.synthetic import best_rate

from mupwd.sweep.declare import Sweep
from mupwd.sweep.halving import rungs
from mupwd.sweep.trial import Result, Trial
from mupwd.transfer import scorecard


@pytest.mark.parametrize(
    ("steps", "warmup", "factor", "expected"),
    [
        (900, 0, 3, [100, 300]),
        (900, 90, 3, [300]),
        (900, 45, 3, [100, 300]),
        (400, 40, 2, [100, 200]),
        (400, 40, 4, [100]),
        (20, 0, 2, [2, 5, 10]),
    ],
)
def test_the_shortest_rung_is_long_enough(steps, warmup, factor, expected):
    assert rungs({"steps": steps, "warmup": warmup}, factor) == expected


@pytest.mark.parametrize(("steps", "warmup"), [(400, 100), (2, 1), (1, 0)])
def test_without_a_rung_there_is_no_halving(steps, warmup):
    with pytest.raises(ValueError, match="give a smaller factor or a shorter warmup"):
        rungs({"steps": steps, "warmup": warmup}, 3)


def stopped(trials):
    found = {}
    for trial in trials:
        found.setdefault(trial.stop_at, []).append(trial)
    return found


def test_all_pairs_run_to_the_first_rung_and_the_best_ones_go_on():
    search = halving(widths=(32,))
    first = stopped(search.wanted([]))
    assert set(first) == {10}
    assert len(first[10]) == 2 * len(RATES) * len(DECAYS)
    assert {trial.seed for trial in first[10]} == {0}
    results = {trial.id: result(trial) for trial in first[10]}
    second = stopped(search.wanted(results.values()))
    assert set(second) == {10, 30}
    for recipe in search.recipes:
        order = sorted(
            (results[one.id].loss, one.hyperparameters["learning_rate"], one.hyperparameters["weight_decay"])
            for one in first[10]
            if one.hyperparameters["recipe"] == recipe
        )
        kept = {
            (one.hyperparameters["learning_rate"], one.hyperparameters["weight_decay"])
            for one in second[30]
            if one.hyperparameters["recipe"] == recipe
        }
        best = {(rate, decay) for _, rate, decay in order[:19]}
        assert kept == best | set(search.cross(order[0][1:]))


def test_a_rung_that_prefers_lower_learning_rates_does_not_decide():
    """Early the best rate lies two octaves lower; what was stopped is then run to its end after all."""
    search = halving(widths=(32, 64), early=2.0, noise=1e-4)
    results = run(search)
    assert any(one.trial.stop_at is None for one in results.values())
    scores = scorecard(one.observation() for one in results.values())
    for recipe in search.recipes:
        for width in (32, 64):
            optimum = scores[recipe].widths[width].learning_rate.optimum
            assert optimum.log2 == pytest.approx(best_rate(recipe, width), abs=0.2)


def test_the_tuned_pair_runs_to_its_end_at_every_width():
    results = run(halving())
    scores = scorecard(one.observation() for one in results.values())
    # At the target it lies two octaves off, far below the best third.
    ran = {
        one.trial.seed
        for one in results.values()
        if one.trial.width == 128
        and one.trial.stop_at is None
        and one.trial.hyperparameters["recipe"] == "moves"
        and (one.trial.hyperparameters["learning_rate"], one.trial.hyperparameters["weight_decay"])
        == scores["moves"].tuned
    }
    assert ran == {0, 1}


def test_the_loss_at_a_rung_is_never_taken_for_the_last_one():
    values = {"learning_rate": 0.1, "weight_decay": 0.2, "recipe": "sp", "steps": 90, "stop_at": 30}
    one = Result(Trial(32, values, 0), {"eval/loss": 0.1, "step": 30}, 1.0)
    assert one.observation().stopped
    assert one.observation().loss == float("inf")
    diverged = Result(Trial(32, values, 0), {"eval/loss": float("nan"), "step": 9}, 1.0)
    # A whole trial of the same pair may have run as well.
    assert diverged.observation().stopped
    assert one.trial.share == pytest.approx(1 / 3)
    assert str(one.trial).endswith("seed 0, stopped at step 30")


def test_a_train_function_that_does_not_stop_is_found_out():
    values = {"learning_rate": 0.1, "weight_decay": 0.2, "recipe": "sp", "steps": 90, "stop_at": 30}
    with pytest.raises(
        ValueError, match=r"was to end after 30 steps and ran 90: .* hyperparameters\['stop_at'\]"
    ):
        Result(Trial(32, values, 0), {"eval/loss": 0.1, "step": 90}, 1.0)


@pytest.mark.parametrize("stop_at", [0, 90, 91, True, 3.5])
def test_a_step_that_is_none_is_refused(stop_at):
    values = {"learning_rate": 0.1, "weight_decay": 0.2, "steps": 90, "stop_at": stop_at}
    with pytest.raises(ValueError, match="'stop_at' must be a step from 1 to below steps=90"):
        Trial(32, values, 0)


def test_a_sweep_with_halving_gives_its_trials_their_warmup_and_says_where_they_stop():
    sweep = Sweep((32, 64), RATES, DECAYS, steps=900, halving=3)
    assert sweep.adaptive
    assert sweep.extent().endswith("all but the best 1/3 stopped at step 300")
    first = sweep.study().wanted([])
    assert {one.stop_at for one in first} == {300}
    assert {one.hyperparameters["warmup"] for one in first} == {90}
    # The last rung's trials are those of the plain grid.
    ids = {one.id for one in sweep.trials}
    assert sweep.study().trial("mupwd", 32, (RATES[0], DECAYS[0]), 0).id in ids


def test_rungs_follow_the_horizon_of_each_width():
    given = {"layers": 1, "batch_size": 4, "sequence_length": 16}
    sweep = Sweep((32, 64), (0.1, 0.2), (0.1,), tokens_per_parameter=2.0, hyperparameters=given, halving=3)
    assert {one.width: one.share for one in sweep.study().wanted([])} == pytest.approx(
        {32: 1 / 3, 64: 1 / 3}, rel=0.01
    )
