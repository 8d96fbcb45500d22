"""The steady-state check on planted states: right rules pass, wrong decays fail, short runs are refused."""

import math
from dataclasses import replace

import pytest
from helpers.steady import HYPERPARAMETERS, family, trials

from mupwd.recipes import get
from mupwd.recipes.exponents import Powers
from mupwd.transfer import fit_exponent, steady_state_check
from mupwd.transfer.steady import judge_steady_state
from mupwd.transfer.steady_state import TIMESCALES, SteadyRun, steps_needed

WIDTHS = (32, 64, 128)


@pytest.fixture(scope="module")
def residual():
    return family()


def decaying(power):
    """The mupwd recipe with another power of the width ratio in the decay of matrices."""
    recipe = get("mupwd")
    return replace(recipe, name=f"decay {power}", matrix=replace(recipe.matrix, wd=Powers(m_in=power)))


def check(residual, train, recipe="mupwd", **changes):
    given = {**HYPERPARAMETERS, **changes}
    return steady_state_check(train, residual, given, recipe=recipe, widths=WIDTHS, seeds=(0, 1, 2))


def lines(found):
    return {line.name: line for line in found.lines}


def test_the_right_rule_passes_for_every_layer_and_gain(residual):
    found = check(residual, trials(residual))
    assert found.verdict == "pass", str(found)
    assert set(lines(found)) == {"layers/*/up", "layers/*/down", "layers/*/mlp"}
    up = lines(found)["layers/*/up"]
    assert up.slope == pytest.approx(0.0, abs=0.02)
    assert up.implied_decay == pytest.approx(0.5, abs=0.04)
    assert "verdict: pass" in str(found)


@pytest.mark.parametrize(
    ("recipe", "slope"),
    [("mup", 0.25), ("mup_linear", -0.25), (decaying(-0.5), 0.5)],
    ids=["constant", "linear", "post-scaled"],
)
def test_a_wrong_decay_rule_fails_and_the_right_power_is_named(residual, recipe, slope):
    found = check(residual, trials(residual), recipe, steps=20_000)
    assert found.verdict == "fail"
    for name in ("layers/*/up", "layers/*/down"):
        line = lines(found)[name]
        assert line.verdict == "fail"
        assert line.slope == pytest.approx(slope, abs=0.02)
        assert line.implied_decay == pytest.approx(0.5, abs=0.04)
    assert lines(found)["layers/*/mlp"].verdict == "pass"
    assert f"layers/*/up: sigma {'grows' if slope > 0 else 'shrinks'} as width^" in str(found)


def test_a_decay_that_is_not_the_plans_fails(residual):
    """The plan is right; the optimizer of the training script scales the finished update again."""
    found = check(residual, trials(residual, decay=-0.5))
    assert {line.verdict for line in found.lines if line.quantity == "sigma"} == {"fail"}


def test_one_kind_of_layer_alone_fails_by_name(residual):
    found = check(residual, trials(residual, e={"layers/*/up": 0.75, "layers/*/down": 1.0}))
    assert lines(found)["layers/*/up"].verdict == "pass"
    assert lines(found)["layers/*/down"].verdict == "fail"
    assert lines(found)["layers/*/down"].implied_decay == pytest.approx(1.0, abs=0.04)


def test_a_gain_that_grows_fails(residual):
    assert lines(check(residual, trials(residual, gain=0.5)))["layers/*/mlp"].verdict == "fail"


def test_a_short_run_is_not_judged_however_wrong_it_is(residual):
    found = check(residual, trials(residual, decay=-0.5, noise=0.0), steps=300)
    assert found.verdict == "undecided"
    assert {line.verdict for line in found.lines} == {"too short"}
    # 300 steps are 300/64/2 timescales at four times the width.
    up = lines(found)["layers/*/up"]
    assert up.elapsed[128] == pytest.approx(300 / 64 / 2)
    assert up.steps[128] == 384
    assert "steps needed: 192 at width 32" in str(found)


def test_the_steps_that_it_asks_for_are_enough(residual):
    plans = [residual.plan(width, form="forward") for width in WIDTHS]
    steps = steps_needed(plans, 2**-6, 1.0)
    assert steps == math.ceil(TIMESCALES * 64 * 2)
    assert check(residual, trials(residual), steps=steps).verdict == "pass"
    assert check(residual, trials(residual), steps=steps - 2).verdict == "undecided"


def test_noise_is_undecided_and_says_what_would_decide(residual):
    found = check(residual, trials(residual, noise=0.5))
    line = next(line for line in found.lines if line.verdict == "undecided")
    assert line.more_seeds or line.more_widths
    assert "should decide" in str(found)
    assert check(residual, trials(residual, noise=0.5)).verdict != "pass"


def test_one_seed_at_three_widths_can_decide_where_the_law_holds(residual):
    found = steady_state_check(
        trials(residual, noise=0.002), residual, HYPERPARAMETERS, widths=WIDTHS, seeds=(0,)
    )
    assert found.verdict == "pass"


def test_nan_is_reported_by_parameter(residual):
    def broken(width, seed, metrics):
        name = "spectral/layers/1/up/sigma_1_last_quarter"
        return {**metrics, name: math.nan} if (width, seed) == (64, 1) else metrics

    found = check(residual, trials(residual, metrics=broken))
    line = lines(found)["layers/*/up"]
    assert line.verdict == "fail"
    assert "not a finite number above 0 in 1 of 9 trials, such as width 64" in line.note
    assert lines(found)["layers/*/down"].verdict == "pass"


def test_diverged_trials_are_reported_and_left_out(residual):
    def diverges(width, seed, metrics):
        return {"status": "diverged", "step": 7} if (width, seed) == (128, 2) else metrics

    found = check(residual, trials(residual, metrics=diverges))
    assert found.verdict == "pass"
    assert found.diverged == ("width 128, learning rate 0.015625, weight decay 1, seed 2",)
    assert "diverged: width 128" in str(found)
    with pytest.raises(ValueError, match="every trial at width 128 diverged"):
        check(
            residual,
            trials(residual, metrics=lambda w, s, m: {"status": "diverged"} if w == 128 else m),
        )


@pytest.mark.parametrize("name", ["spectral/layers/0/up/sigma_1_last_quarter", "train/decay_elapsed", "step"])
def test_a_missing_metric_is_named(residual, name):
    def without(width, seed, metrics):
        last = "spectral/layers/0/up/sigma_1"
        return {key: value for key, value in metrics.items() if key not in (name, last)}

    with pytest.raises(ValueError, match=name.removesuffix("_last_quarter")):
        check(residual, trials(residual, metrics=without), steps=100)


def test_copies_of_a_stack_and_last_values_are_read(residual):
    def stacked(width, seed, metrics):
        last = {k.removesuffix("_last_quarter"): v for k, v in metrics.items()}
        sigma = last.pop("spectral/layers/0/up/sigma_1")
        return {
            **last,
            "spectral/layers/0/up[0]/sigma_1": sigma / 2,
            "spectral/layers/0/up[1]/sigma_1": 2 * sigma,
        }

    found = lines(check(residual, trials(residual, noise=0.0, metrics=stacked)))["layers/*/up"]
    assert found.slope == pytest.approx(0.0, abs=1e-9)
    assert found.values[32] == pytest.approx(
        lines(check(residual, trials(residual, noise=0.0)))["layers/*/up"].values[32]
    )


def test_what_cannot_be_checked_is_refused(residual):
    with pytest.raises(ValueError, match="three or more"):
        steady_state_check(trials(residual), residual, HYPERPARAMETERS, widths=(32, 64))
    with pytest.raises(ValueError, match="expected at least one"):
        steady_state_check(trials(residual), residual, HYPERPARAMETERS, widths=WIDTHS, seeds=())
    recipe = get("mupwd")
    without = replace(recipe, name="without", matrix=replace(recipe.matrix, wd=None))
    with pytest.raises(ValueError, match="recipe 'without' decays no matrix"):
        check(residual, trials(residual), without)
    with pytest.raises(ValueError, match="nothing decays"):
        steps_needed([residual.plan(64)], 0.1, 0.0)


@pytest.mark.parametrize(
    ("hyperparameters", "error", "words"),
    [
        ({"weight_decay": 0.0}, ValueError, "weight_decay must be a finite number above 0; got 0.0"),
        ({"learning_rate": math.nan}, ValueError, "learning_rate must be a finite number above 0; got nan"),
        ({"weight_decay": "0.1"}, ValueError, "weight_decay must be a number"),
        ({"weight_decay": None}, ValueError, "expected 'weight_decay', at the base; found 'learning_rate'"),
    ],
)
@pytest.mark.parametrize("check", [steady_state_check, fit_exponent])
def test_nothing_is_trained_for_hyperparameters_that_cannot_be_judged(
    residual, check, hyperparameters, error, words
):
    """A decay of 0 has no steady state; that is said before the first trial."""
    given = {"learning_rate": 2**-6, "weight_decay": 1.0} | hyperparameters
    given = {name: value for name, value in given.items() if value is not None}

    def train(*_):
        raise AssertionError("trained")

    with pytest.raises(error, match=words):
        check(train, residual, given, widths=WIDTHS)


@pytest.mark.parametrize("check", [steady_state_check, fit_exponent])
def test_a_recipe_without_decay_and_seeds_by_number_are_refused_before_training(residual, check):
    """Neither is found out after hours."""
    recipe = get("mupwd")
    without = replace(recipe, name="without", matrix=replace(recipe.matrix, wd=None))

    def train(*_):
        raise AssertionError("trained")

    with pytest.raises(ValueError, match="recipe 'without' decays no matrix"):
        check(train, residual, HYPERPARAMETERS, recipe=without, widths=WIDTHS)
    with pytest.raises(TypeError, match=r"such as \(0, 1, 2\); found the number 3"):
        check(train, residual, HYPERPARAMETERS, widths=WIDTHS, seeds=3)


@pytest.mark.parametrize("check", [steady_state_check, fit_exponent])
def test_a_trial_without_its_metrics_is_the_last(residual, check):
    """A train function that forgets a metric is told after one trial."""
    trained = []

    def train(width, hyperparameters, seed, directory):
        trained.append(width)
        return {"loss": 1.0}

    with pytest.raises(ValueError, match=r"returned no 'spectral/"):
        check(train, residual, HYPERPARAMETERS, widths=WIDTHS)
    assert len(trained) == 1


def test_finished_trials_without_decay_are_refused(residual):
    """As a report meets them, where runs of any kind lie."""
    runs = [SteadyRun(width, 0.1, 0.0, 0, {}) for width in WIDTHS]
    with pytest.raises(ValueError, match=r"at weight decay 0.*no steady state"):
        judge_steady_state(runs, {width: residual.plan(width, form="forward") for width in WIDTHS})


def test_the_steps_of_three_timescales(residual):
    """Of the parameter that decays most slowly, and half of the warmup, in which the rate is half on average."""
    plan = residual.plan(128, form="forward")
    slowest = min(one.lr * one.wd for one in plan.values() if one.role == "matrix")
    assert steps_needed([plan], 2**-6, 0.5) == math.ceil(3 / (2**-7 * slowest))
    assert (
        steps_needed([plan, residual.plan(32)], 2**-6, 0.5, warmup=20)
        == math.ceil(3 / (2**-7 * slowest)) + 10
    )


def test_a_run_that_did_not_decay_at_all_says_no_number_of_steps(residual):
    """At a learning rate of 0 no number would be enough."""
    found = check(
        residual, trials(residual, metrics=lambda width, seed, m: {**m, "train/decay_elapsed": 0.0})
    )
    assert {line.verdict for line in found.lines} == {"too short"}
    assert all(set(line.steps.values()) == {0} for line in found.lines)
