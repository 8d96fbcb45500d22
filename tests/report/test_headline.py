"""The first sentence of a card, and what it advises: for someone who knows nothing of the rules."""

import dataclasses
import math

import pytest
from helpers.scores import make_scores

from mupwd.report.headline import headline, overall, usable
from mupwd.report.payload import payload
from mupwd.report.runs import Group
from mupwd.transfer import Drift, Estimate


@pytest.fixture(scope="module")
def scores():
    return make_scores()


def changed(score, rate=None, decay=None, regret=None):
    verdicts = {
        "stays": Drift(0.02, (-0.1, 0.1), 2.0, "transfers"),
        "noise": Drift(0.3, (-0.5, 1.1), 2.0, "undecided", "add seeds near the optima, or widths"),
        "edge": Drift(
            math.nan,
            None,
            2.0,
            "undecided",
            "the best value is the lowest of the grid: extend it",
        ),
        "moves": Drift(-1.0, (-1.1, -0.9), 2.0, "drifts"),
        "few": None,
    }
    return dataclasses.replace(
        score,
        learning_rate_drift=verdicts[rate],
        weight_decay_drift=verdicts[decay],
        regret=regret or score.regret,
    )


NOTHING, LOST = Estimate(0.0, (-0.01, 0.01)), Estimate(0.05, (0.03, 0.07))


@pytest.mark.parametrize(
    ("rate", "decay", "regret", "mark", "text"),
    [
        (
            "stays", "stays", NOTHING, "good",
            "What was tuned at width 32 is as good at width 128 as tuning there: carry it over",
        ),
        (
            "stays", "stays", Estimate(0.0, None), "good",
            "What was tuned at width 32 stays the best at width 128; what it costs there these runs cannot tell "
            "(add seeds)",
        ),
        (
            "stays", "noise", NOTHING, "open",
            "The learning rate transfers from width 32 to 128; about the weight decay the runs cannot tell (add seeds, "
            "or weight decays near the optimum); what was tuned at width 32 lost nothing measurable at width 128",
        ),
        (
            "edge", "few", LOST, "open",
            "Whether the best learning rate and weight decay stay the same from width 32 to 128, the runs cannot tell "
            "(extend the grid of learning rates: the best lies at its edge; run three weight decays or more at every "
            "width); tuning at width 128 would have won 0.050 [+0.030, +0.070] nats/token",
        ),
        (
            "moves", "noise", LOST, "bad",
            "From width 32 to 128 the best learning rate becomes 4.0 times lower than this rule sets it: tune anew at "
            "each width, or take another recipe; tuning at width 128 would have won 0.050 [+0.030, +0.070] nats/token",
        ),
        (
            "stays", "moves", NOTHING, "bad",
            "From width 32 to 128 the best weight decay becomes 4.0 times lower than this rule sets it: tune anew at "
            "each width, or take another recipe; so far what was tuned at width 32 lost nothing measurable at width "
            "128",
        ),
        (
            "stays", "noise", Estimate(math.inf, None), "bad",
            "What was tuned at width 32 diverges at width 128: do not carry it over",
        ),
    ],
)  # fmt: skip
def test_the_first_sentence_says_what_is_known_and_what_to_do(scores, rate, decay, regret, mark, text):
    score = changed(scores["stays"], rate, decay, regret)
    assert (headline(score).mark, headline(score).text) == (mark, text)
    assert overall(score) == mark


def test_a_pair_that_usable_may_be_used_though_the_decay_is_undecided(scores):
    score = changed(scores["stays"], "stays", "noise", NOTHING)
    assert usable(score)
    assert not usable(changed(scores["stays"], "few", "few", NOTHING))
    (card,) = payload([Group("sweep", scores={"stays": score})])["verdicts"]
    assert (card["mark"], card["word"]) == ("open", "undecided")
    assert any(
        "for each parameter at width 128: mupwd plan --base 32 --width 128" in one for one in card["next"]
    )
    assert any(one.startswith("weight decay: add seeds") for one in card["next"])


def test_what_to_take_instead_is_a_recipe_that_transfers_or_else_one_that_usable(scores):
    def advice(**others):
        cards = payload([Group("sweep", scores={**others, "moves": scores["moves"]})])["verdicts"]
        return next(one for one in cards[-1]["next"] if one.startswith("do not carry"))

    held = {"stays": scores["stays"], "held": changed(scores["stays"], "stays", "noise", NOTHING)}
    held = {recipe: dataclasses.replace(score, recipe=recipe) for recipe, score in held.items()}
    assert advice(**held).endswith("; recipe stays transfers here")
    assert advice(held=held["held"]).endswith("; recipe held lost nothing measurable here")
    assert advice().endswith("; mupwd check finds the layer that breaks it")
