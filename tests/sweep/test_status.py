"""How far a sweep is."""

import math
import os
import time

import pytest
from helpers.searches import halving, result, run

from mupwd.sweep.claims import Claims
from mupwd.sweep.fixed import FixedStudy
from mupwd.sweep.status import look, status
from mupwd.sweep.store import Store
from mupwd.sweep.trial import Result, Trial


def trial(seed, width=32):
    return Trial(width, {"learning_rate": 0.1, "weight_decay": 0.2, "recipe": "mupwd", "steps": 5}, seed)


def test_status_counts_what_is_where_and_estimates_the_rest(tmp_path):
    trials = [trial(seed) for seed in range(6)] + [trial(6, width=128)]
    store = Store(tmp_path, print)
    for finished in (
        Result(trials[0], {"eval/loss": 1.5}, 2.0),
        Result(trials[1], {"eval/loss": math.nan}, 1.0),
    ):
        store.put(finished)
    store.put_failure(trials[2], "boom")
    with Claims(tmp_path, print) as claims:
        found = status(FixedStudy(tuple(trials)), store, claims)
        assert (found.finished, found.diverged, found.failed, found.running, found.waiting) == (1, 1, 1, 0, 4)
        assert found.total == 7
        assert found.seconds == 3.0
        assert found.seconds_left is None
        assert claims.take(trials[3].id)
        assert claims.take(trials[4].id)
        found = status(FixedStudy(tuple(trials)), store, claims)
        assert (found.running, found.waiting) == (2, 2)
        # Three of 1.5 s and one of four times the width, two at a time.
        assert found.seconds_left == pytest.approx((3 * 1.5 + 1.5 * 8) / 2)


def test_the_time_left_is_told_by_the_pace_since_the_last_pause(tmp_path):
    """Eight trials of one program end together, and take two seconds each: 16 at a time, whatever claims say."""
    trials, store, now = [trial(seed) for seed in range(64)], Store(tmp_path, print), time.time()
    for place, one in enumerate(trials[:24]):
        store.put(Result(one, {"eval/loss": 1.0}, 2.0))
        # The first eight were recorded a day before.
        at = now - 86400 if place < 8 else now + place // 8
        os.utime(store.path(one), (at, at))
    with Claims(tmp_path, print) as claims:
        assert claims.take(trials[30].id)
        found = status(FixedStudy(tuple(trials)), store, claims)
    assert found.seconds_left == pytest.approx(40 * 2.0 / 16)


def test_a_claim_without_a_sign_of_life_does_not_run(tmp_path):
    trials, store, claims = [trial(0), trial(1)], Store(tmp_path, print), Claims(tmp_path, print)
    for one in trials:
        (claims.directory / one.id).write_text('{"host": "elsewhere", "machine": "another", "pid": 7}')
    os.utime(claims.directory / trials[0].id, (0, 0))
    found = status(FixedStudy(tuple(trials)), store, claims)
    assert (found.running, found.waiting) == (1, 1)
    # It is not taken away: whoever watches it decides.
    assert len(list(claims.directory.iterdir())) == 2


def test_status_of_a_search_looks_as_far_as_results_reach_and_says_that_there_will_be_more(tmp_path):
    study, store = halving(widths=(32,)), Store(tmp_path, print)
    claims = Claims(tmp_path, print)
    first = status(study, store, claims)
    assert (first.waiting, first.unknown) == (112, sum(study.expected().values()) - 112)
    for one in study.wanted([]):
        store.put(result(one))
    second = status(study, store, claims)
    assert second.finished == 112
    assert second.waiting == len(look(study, store)[0]) - 112 > 0
    assert second.total + second.unknown >= first.total + first.unknown
    ran = run(study)
    for one in ran.values():
        if store.get(one.trial) is None:
            store.put(one)
    last = status(study, store, claims)
    assert (last.finished, last.waiting, last.unknown) == (len(ran), 0, 0)
