"""One grid of trials stands for every power of the matrices' decay."""

import itertools
import math

import pytest
from presets import PRESETS
from rules_study import RULES, RulesStudy, relabelled

import mupwd
from mupwd.sweep.declare import Sweep
from mupwd.sweep.trial import Result

BASE, STRONG = 32, 2.0**-1.5


def sweep(decays=range(-10, 1)):
    return Sweep(
        widths=(32, 64, 128, 256),
        learning_rates=tuple(2.0**k for k in range(-8, -3)),
        weight_decays=tuple(2.0 ** (k / 2) for k in decays),
        seeds=(0, 1, 2),
        steps=100,
    )


def run_to_its_end(study, power):
    """Trials whose best decay moves as the width to a power, for matrices that learn and decay as under p = 1/2."""

    def loss(trial):
        given, m = trial.hyperparameters, trial.width / BASE
        decay = math.log2(given["weight_decay"]) + (0.5 - power) * math.log2(m)
        return (
            1 + (math.log2(given["learning_rate"]) + 6) ** 2 / 50 + (decay + 2.5) ** 2 / 50 + trial.seed / 10
        )

    results = {}
    while missing := [one for one in study.wanted(results.values()) if one.id not in results]:
        for trial in missing:
            results[trial.id] = Result(trial, {"eval/loss": loss(trial)}, 1.0)
    return list(results.values())


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_drift_of_a_rule_is_what_its_power_lacks(power):
    study = RulesStudy(sweep(range(-15, 6)), STRONG)
    results = run_to_its_end(study, power)
    decays = tuple(sorted(study.sweep.weight_decays))
    for name, p in RULES.items():
        observations = [relabelled(one.observation(), name, BASE, decays) for one in results]
        score = mupwd.scorecard([one for one in observations if one])[name]
        assert score.tuned == (2**-6, 2**-2.5)
        assert score.weight_decay_drift.slope == pytest.approx(power - p, abs=1e-3)
        assert score.learning_rate_drift.slope == pytest.approx(0, abs=1e-3)
        assert score.regret.value == pytest.approx((3 * (power - p)) ** 2 / 50, abs=1e-6)
        # The verdict at the target rests on all seeds.
        assert set(score.transferred) == {0, 1, 2}


def test_one_seed_elsewhere():
    results = run_to_its_end(RulesStudy(sweep(), STRONG), 0.5)
    seeds = {}
    for one in results:
        seeds.setdefault((one.trial.width, one.observation().pair), set()).add(one.trial.seed)
    assert all(some in ({0}, {0, 1, 2}) for some in seeds.values())
    assert len(seeds) == 4 * 5 * 11
    assert 4 * 7 <= sum(some == {0, 1, 2} for some in seeds.values()) <= 4 * 20


def test_other_rules_run_the_tuned_pair_beyond_the_base():
    study = RulesStudy(sweep(), STRONG, others=("fitted(0.25)",))
    found = [
        one.trial
        for one in run_to_its_end(study, 0.5)
        if one.trial.hyperparameters["recipe"] == "fitted(0.25)"
    ]
    assert {(one.width, one.seed) for one in found} == {(w, s) for w in (64, 128, 256) for s in (0, 1, 2)}
    assert {one.hyperparameters["weight_decay"] for one in found} == {STRONG}


def test_a_trial_whose_decay_leaves_the_grid_has_no_other_name():
    study = RulesStudy(sweep(), STRONG)
    decays = tuple(sorted(study.sweep.weight_decays))
    results = run_to_its_end(study, 0.5)
    lowest = next(
        one.observation()
        for one in results
        if one.trial.width == 256 and one.observation().weight_decay == decays[0]
    )
    assert relabelled(lowest, "p = 1", BASE, decays) is None
    assert relabelled(lowest, "p = 0", BASE, decays).weight_decay == decays[3]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_sweeps_in_which_rules_meet(name):
    preset = PRESETS[name]
    for horizon, long in preset.horizons.items():
        assert preset.base == long.widths[0]
        decays = preset.rules(horizon).weight_decays
        assert all(b / a == pytest.approx(math.sqrt(2)) for a, b in itertools.pairwise(decays))
        assert preset.controls(horizon).recipes == ("sp", "sp_embedding")
