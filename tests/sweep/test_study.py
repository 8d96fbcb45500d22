"""What a study runs, and in which order it finds out."""

import math

import pytest
from helpers.synthetic import BEST_DECAY, best_rate, train

from mupwd.sweep.study import Study
from mupwd.sweep.trial import Result

RATES = tuple(2.0**k for k in range(-9, -2))
DECAYS = tuple(2.0**k for k in (-6, -4, -2, 0))


def make(**changes):
    values = {
        "widths": (32, 64, 128),
        "recipes": ("stays", "moves"),
        "learning_rates": RATES,
        "weight_decays": DECAYS,
        "hyperparameters": {"steps": 10},
    }
    return Study(**values | changes)


def finish(study, results):
    """Runs all that is wanted now; returns whether anything was."""
    new = [trial for trial in study.wanted(results.values()) if trial.id not in results]
    for trial in new:
        results[trial.id] = Result(trial, train(trial.width, trial.hyperparameters, trial.seed, None), 1.0)
    return bool(new)


@pytest.fixture(scope="module")
def finished():
    study, results = make(), {}
    rounds = 0
    while finish(study, results):
        rounds += 1
    return study, results, rounds


def points(results, recipe, width):
    return {
        (r.trial.hyperparameters["learning_rate"], r.trial.hyperparameters["weight_decay"], r.trial.seed)
        for r in results.values()
        if r.trial.hyperparameters["recipe"] == recipe and r.trial.width == width
    }


def test_starts_with_the_whole_grid_at_the_base_only():
    trials = make().wanted([])
    assert len(trials) == 2 * len(RATES) * len(DECAYS)
    assert {trial.width for trial in trials} == {32}
    assert {trial.hyperparameters["base"] for trial in trials} == {32}
    assert all(trial.hyperparameters["steps"] == 10 for trial in trials)


def test_ends(finished):
    _, _, rounds = finished
    assert rounds < 12


def test_more_seeds_run_near_the_optima_and_nowhere_else(finished):
    _, results, _ = finished
    for recipe in ("stays", "moves"):
        for width in (32, 64, 128):
            seeds = {(rate, decay) for rate, decay, seed in points(results, recipe, width) if seed == 2}
            assert len(seeds) <= 9
            near = [abs(math.log2(rate) - best_rate(recipe, width)) < 2 for rate, _ in seeds]
            # The transferred pair runs with all seeds wherever the optimum has gone.
            assert near.count(False) <= 1


def test_the_transferred_pair_runs_with_all_seeds_at_the_target(finished):
    _, results, _ = finished
    tuned = (2.0**-5, 2.0**-2)
    assert abs(math.log2(tuned[1]) - BEST_DECAY) < 1
    for recipe in ("stays", "moves"):
        assert {(*tuned, seed) for seed in (0, 1, 2)} <= points(results, recipe, 128)


def test_other_widths_run_a_cross(finished):
    _, results, _ = finished
    seen = points(results, "moves", 128)
    assert {(rate, 2.0**-2, 0) for rate in RATES} <= seen
    assert {(2.0**-7, decay, 0) for decay in DECAYS} <= seen
    assert len({(rate, decay) for rate, decay, _ in seen}) == len(RATES) + len(DECAYS) - 1


def test_the_expected_number_is_near_the_real_one(finished):
    study, results, _ = finished
    assert sum(study.expected().values()) == pytest.approx(len(results), rel=0.15)


def test_what_is_wanted_does_not_depend_on_the_order_of_results(finished):
    study, results, _ = finished
    forwards = [trial.id for trial in study.wanted(results.values())]
    backwards = [trial.id for trial in study.wanted(list(results.values())[::-1])]
    assert forwards == backwards


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (32,)}, "widths must be 2 or more different"),
        ({"widths": (64, 32)}, "widths must ascend"),
        ({"widths": (32, 32)}, "widths must be 2 or more different"),
        ({"recipes": ()}, "recipes must be 1 or more different"),
        ({"learning_rates": (0.1, 0.2)}, "learning_rates must be 3 or more"),
        ({"weight_decays": (0.0, 0.1, 0.2)}, "weight_decays must be above 0"),
        ({"seeds": ()}, "seeds must be 1 or more"),
    ],
)
def test_bad_studies_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        make(**change)


def test_a_grid_that_diverges_everywhere_says_what_to_do():
    study = make(learning_rates=(1.0, 2.0, 4.0))
    results = {}
    finish(study, results)
    with pytest.raises(ValueError, match="lower the learning rates"):
        study.wanted(results.values())
