"""Planted decay rules on the proxy itself: what theory says of their steady states is what comes out."""

import numpy as np
import pytest
from helpers.steady_proxy import LEARNING_RATE, RULES, WEIGHT_DECAY, proxies, recipe, steady

from mupwd.proxy.corpus import corpus
from mupwd.transfer import steady_state_check

WIDTHS, SEEDS = (16, 32, 64), (0, 1)


@pytest.fixture(scope="module")
def checks():
    text, family = corpus("stdlib"), proxies()
    tuned = {"learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY}
    return {
        rule: steady_state_check(
            lambda width, _, seed, directory, rule=rule: steady(text, width, SEEDS)[rule, seed],
            family,
            tuned,
            recipe=recipe(rule),
            widths=WIDTHS,
            seeds=SEEDS,
        )
        for rule in RULES
    }


def slopes(check):
    return np.array([line.slope for line in check.lines])


@pytest.mark.parametrize("rule", ["constant", "post-scaled"])
def test_a_decay_that_is_too_small_fails_and_its_direction_is_named(checks, rule):
    assert checks[rule].verdict == "fail"
    failed = [line for line in checks[rule].lines if line.verdict == "fail"]
    assert len(failed) >= (5 if rule == "post-scaled" else 2)
    assert all(line.slope > 0 and line.implied_decay > RULES[rule] for line in failed)
    assert "sigma grows as width^" in str(checks[rule])


def test_each_half_power_of_the_decay_moves_the_slopes_by_a_quarter(checks):
    for less, more in (("post-scaled", "constant"), ("constant", "sqrt")):
        assert (slopes(checks[less]) - slopes(checks[more])).mean() == pytest.approx(0.25, abs=0.1)


def test_all_rules_imply_about_the_same_decay(checks):
    implied = [np.mean([line.implied_decay for line in check.lines]) for check in checks.values()]
    assert max(implied) - min(implied) < 0.4
