"""The exponent fit on planted laws: values, intervals, decay rules, the recipe that comes out."""

import math

import numpy as np
import pytest
from helpers.steady import HYPERPARAMETERS, family, trials

from mupwd.transfer import fit_exponent
from mupwd.transfer.exponent import StarPoint, star

WIDTHS = (32, 64, 128, 256)


@pytest.fixture(scope="module")
def residual():
    return family()


def fit(residual, train, widths=WIDTHS, seeds=(0, 1, 2), **changes):
    return fit_exponent(train, residual, {**HYPERPARAMETERS, **changes}, widths=widths, seeds=seeds)


@pytest.mark.parametrize(("e", "rule"), [(0.5, "constant"), (0.75, "sqrt"), (1.0, "linear")])
def test_the_planted_exponent_and_its_rule_come_out(residual, e, rule):
    found = fit(residual, trials(residual, e=e))
    assert found.verdict == "pass"
    assert {one.name for one in found.modules} == {"layers/*/up", "layers/*/down"}
    for one in found.modules:
        assert one.theory_holds
        assert one.e.value == pytest.approx(e, abs=0.02)
        assert one.decay.value == pytest.approx(2 * e - 1, abs=0.04)
        assert one.supports in ((rule,), ())
    assert "mupwd.recipes.fitted({" in str(found)


def test_the_interval_holds_the_planted_exponent_as_often_as_it_says(residual):
    held = []
    for seed in range(60):
        for one in fit(
            residual, trials(residual, e=0.8), seeds=(3 * seed, 3 * seed + 1, 3 * seed + 2)
        ).modules:
            held.append(one.e.interval[0] <= 0.8 <= one.e.interval[1])
    assert 0.90 <= np.mean(held) <= 0.99


def test_the_fitted_recipe_keeps_the_planted_state_the_same(residual):
    """Round trip: what was measured, as a recipe of the same family, gives a flat sigma."""
    e = {"layers/*/up": 0.6, "layers/*/down": 0.95}
    recipe = fit(residual, trials(residual, e=e)).fitted
    plan = residual.plan(256, recipe=recipe)
    for path, power in (("layers/0/up", 0.6), ("layers/1/up", 0.6), ("layers/1/down", 0.95)):
        assert math.log(plan[path].wd, 8) == pytest.approx(2 * power - 1, abs=0.04)
        sigma = [
            math.sqrt(one[path].lr / one[path].wd) * one[path].m_in ** power
            for one in (residual.plan(width, recipe=recipe) for width in WIDTHS)
        ]
        assert max(sigma) / min(sigma) < 1.06


def test_two_rules_that_the_data_cannot_tell_apart_are_undecided(residual):
    found = fit(residual, trials(residual, noise=0.6), widths=(32, 64, 128))
    assert found.verdict == "undecided"
    assert any(one.supports is None for one in found.modules)
    assert "undecided" in str(found)


def test_a_rule_that_is_none_of_the_three_is_said_so(residual):
    found = fit(residual, trials(residual, e=0.62, noise=0.002))
    assert {one.supports for one in found.modules} == {()}
    assert "none" in str(found)


def test_other_powers_of_learning_rate_and_decay_are_found_and_not_imposed(residual):
    found = fit(residual, trials(residual, a=1.0, b=-0.25))
    assert found.verdict == "fail"
    one = found.modules[0]
    assert (one.learning_rate, one.weight_decay) == ("fails", "fails")
    assert one.free.exponents["learning_rate"].value == pytest.approx(1.0, abs=0.03)
    assert one.free.exponents["weight_decay"].value == pytest.approx(-0.25, abs=0.03)
    # sigma ∝ m**(-1 - 0.25 p + 0.75) is flat for p = -1.
    assert one.decay.value == pytest.approx(-1.0, abs=0.2)
    assert "does not follow sqrt(lr / wd)" in str(found)


def test_where_the_square_roots_fail_the_decay_still_comes_with_an_interval(residual):
    a, b, e = 0.1, -0.3, 0.35
    held = []
    for seed in range(60):
        seeds = (3 * seed, 3 * seed + 1, 3 * seed + 2)
        for one in fit(residual, trials(residual, a=a, b=b, e=e, noise=0.02), seeds=seeds).modules:
            assert not one.theory_holds
            low, high = one.decay.interval
            held.append(low <= (a - e) / b <= high)
            assert one.decay.value == pytest.approx((low + high) / 2)
    assert 0.90 <= np.mean(held) <= 0.99


def test_any_recipe_will_do_for_the_trials(residual):
    found = fit_exponent(
        trials(residual, e=0.8), residual, {**HYPERPARAMETERS, "steps": 9000}, recipe="mup", widths=WIDTHS
    )
    assert found.modules[0].e.value == pytest.approx(0.8, abs=0.02)


def test_short_runs_are_refused_with_the_steps_they_need(residual):
    found = fit(residual, trials(residual), steps=300, widths=(32, 64, 128))
    assert (found.verdict, found.modules) == ("undecided", ())
    # At half the learning rate or half the decay, a timescale is 128 steps.
    assert found.steps == {32: 384, 64: 272, 128: 384}
    assert "steps needed: 384 at width 32" in str(found)
    with pytest.raises(ValueError, match="no exponent was measured"):
        _ = found.fitted


def test_nan_and_diverged_trials_are_reported(residual):
    def broken(width, seed, metrics):
        if (width, seed) == (64, 1):
            return {"status": "diverged", "step": 3}
        return {**metrics, "spectral/layers/1/up/sigma_1_last_quarter": math.nan}

    found = fit(residual, trials(residual, metrics=broken))
    up, down = sorted(found.modules, key=lambda one: one.name == "layers/*/down")
    assert "not a finite number" in up.note
    assert down.e.value == pytest.approx(0.75, abs=0.02)
    assert found.verdict == "undecided"
    assert found.diverged == ("width 64, learning rate 0.015625, weight decay 1, seed 1",)
    assert "diverged, left out: width 64" in str(found)


def test_a_star_is_small_and_varies_one_thing_at_a_time():
    points = star((32, 64, 128), 0.01, 1.0)
    assert points[:3] == [StarPoint(width, 0.01, 1.0) for width in (32, 64, 128)]
    assert set(points[3:]) == {
        StarPoint(32, rate, decay) for rate, decay in ((0.02, 1), (0.005, 1), (0.01, 2), (0.01, 0.5))
    }
    with pytest.raises(ValueError, match="factor"):
        star((32, 64, 128), 0.01, 1.0, factor=1.0)
