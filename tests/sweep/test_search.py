"""What all searches keep to: they are functions of results, and end with what the scorecard needs."""

import math
import random

import pytest
from helpers.searches import RATES, SEEDS, WIDTHS, halving, optuna, result, run
from helpers.synthetic import BEST_DECAY, best_rate

from mupwd.transfer import scorecard

KINDS = {"halving": halving, "optuna": optuna}


@pytest.fixture(scope="module", params=KINDS)
def finished(request):
    search = KINDS[request.param]()
    return search, run(search)


@pytest.fixture(scope="module")
def scores(finished):
    return scorecard(one.observation() for one in finished[1].values())


def whole(results, recipe, width):
    """The pairs that ran to their end with all seeds."""
    seeds = {}
    for one in results.values():
        values = one.trial.hyperparameters
        if (values["recipe"], one.trial.width, one.trial.stop_at) == (recipe, width, None):
            pair = values["learning_rate"], values["weight_decay"]
            seeds.setdefault(pair, set()).add(one.trial.seed)
    return {pair for pair, ran in seeds.items() if ran == set(SEEDS)}


def test_the_verdict_is_what_was_planted(scores):
    for recipe, verdict in (("stays", "transfers"), ("moves", "drifts")):
        score = scores[recipe]
        assert score.learning_rate_drift.verdict == verdict
        for width, one in score.widths.items():
            rate, decay = one.learning_rate.optimum, one.weight_decay.optimum
            assert rate.edge is None
            assert rate.log2 == pytest.approx(best_rate(recipe, width), abs=0.3)
            assert decay.log2 == pytest.approx(BEST_DECAY, abs=0.6)
    assert scores["stays"].regret.within_noise
    assert not scores["moves"].regret.within_noise


def test_the_best_pairs_and_lines_ran_to_their_end_with_all_neighbours(finished, scores):
    search, results = finished
    for recipe, score in scores.items():
        for width, one in score.widths.items():
            ran = whole(results, recipe, width)
            tuned = score.tuned
            on_lines = [(one.learning_rate.best, tuned[1]), (one.learning_rate.best, one.weight_decay.best)]
            assert {tuned, *on_lines} <= ran
            assert set(search.cross(one.best)) <= ran
            rate, decay = one.learning_rate.best, one.weight_decay.best
            assert {pair for pair in search.cross((rate, tuned[1])) if pair[1] == tuned[1]} <= ran
            assert {pair for pair in search.cross((rate, decay)) if pair[0] == rate} <= ran
            # As many places as a fit takes in.
            for curve, ends in (
                (one.learning_rate, search.learning_rates),
                (one.weight_decay, search.weight_decays),
            ):
                best = math.log2(curve.best)
                inside = [
                    best + k for k in range(-2, 3) if math.log2(ends[0]) <= best + k <= math.log2(ends[-1])
                ]
                finite = [math.log2(value) for value, mean in curve.means.items() if math.isfinite(mean)]
                assert all(min(abs(at - there) for there in finite) < 1e-6 for at in inside)


def test_it_runs_less_than_the_grid(finished):
    search, results = finished
    grid = len(search.recipes) * len(WIDTHS) * len(RATES) * 7 * len(SEEDS)
    assert sum(one.trial.share for one in results.values()) < 0.5 * grid
    assert sum(search.expected().values()) == pytest.approx(len(results), rel=0.3)


def test_what_was_wanted_stays_wanted_whichever_trial_ends_first(finished):
    search, results = finished
    for seed in range(3):
        rng = random.Random(seed)
        known, before = {}, set()
        while True:
            wanted = search.wanted(known.values())
            ids = {trial.id for trial in wanted}
            assert before <= ids <= results.keys()
            shuffled = rng.sample(sorted(known), len(known))
            assert [trial.id for trial in search.wanted([known[one] for one in shuffled])] == [
                trial.id for trial in wanted
            ]
            missing = [trial for trial in wanted if trial.id not in known]
            if not missing:
                break
            before = ids
            for trial in rng.sample(missing, max(len(missing) // 2, 1)):
                known[trial.id] = results[trial.id]
        assert known.keys() == results.keys()


def test_results_that_were_not_asked_for_change_nothing(finished):
    search, _ = finished
    strangers = [result(search.trial("stays", 32, (rate, 2.0**-2), seed)) for rate in RATES for seed in SEEDS]
    assert [one.id for one in search.wanted(strangers)] == [one.id for one in search.wanted([])]


def test_trials_that_fail_or_diverge_stop_nothing(finished):
    search, results = finished
    best = scorecard(one.observation() for one in results.values())["stays"].tuned
    first = search.wanted([])[0]
    lost = {search.trial("stays", 32, best, SEEDS[1]).id, first.id}
    left = run(search, frozenset(lost))
    assert not lost & left.keys()
    score = scorecard(one.observation() for one in left.values())["stays"]
    # Another pair takes its place: the failed seed could have been anything.
    assert score.tuned != best
    assert score.regret.value < 0.02
    assert abs(math.log2(score.tuned[0]) - best_rate("stays", 32)) < 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_where_everything_diverges_a_search_ends(kind, monkeypatch):
    search = KINDS[kind](widths=(32, 64))
    object.__setattr__(search, "learning_rates", (2.0, 4.0, 8.0))
    results = run(search)
    assert results
    assert all(math.isinf(one.loss) for one in results.values())
