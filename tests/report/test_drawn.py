"""Which runs of a sweep are drawn."""

import numpy as np
from helpers.scores import make_scores

from mupwd.report import drawn as module
from mupwd.report.drawn import drawn
from mupwd.report.logs import Log
from mupwd.report.runs import Group, Run

SERIES = {"train/loss": (np.arange(10), np.ones(10))}


def run(rate, *, seed=0, status="finished"):
    return Run("run", "stays", 32, rate, 2**-2, seed, status, log=Log(SERIES))


def test_a_trial_that_was_stopped_and_then_ran_to_its_end_is_drawn_once():
    runs = [run(0.25), run(0.25, status="stopped"), run(0.25, seed=1, status="stopped")]
    group = Group("sweep", runs)
    assert drawn(group, {}) == [True, False, True]
    assert group.notes == []


def test_pairs_far_from_the_tuned_one_are_left_out_when_there_is_no_room(monkeypatch):
    score = make_scores(("stays",))["stays"]
    tuned = score.tuned[0]
    monkeypatch.setattr(module, "ROOM", 25)
    runs = [
        Run("run", "stays", 32, rate, score.tuned[1], log=Log(SERIES))
        for rate in (8 * tuned, tuned, tuned / 2)
    ]
    runs += [
        Run("run", "stays", 32, 4 * tuned, score.tuned[1], seed=seed, log=Log(SERIES)) for seed in range(2)
    ]
    group = Group("sweep", runs)
    assert drawn(group, {"stays": score}) == [False, True, True, False, False]
    assert "sweep: 3 runs far from the tuned pairs have no curves" in group.notes[0]
