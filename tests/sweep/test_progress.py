"""What a sweep says of the time that it will take."""

import io

from rich.console import Console

from mupwd.sweep.progress import SweepProgress
from mupwd.sweep.trial import LOSS, Result, Trial


def result(width, seed, seconds):
    values = {"recipe": "mupwd", "learning_rate": 0.1, "weight_decay": 0.1, "steps": 9}
    return Result(Trial(width, values, seed), {LOSS: 1.0}, seconds)


def test_the_first_trials_compile_and_are_no_measure_of_the_others():
    progress = SweepProgress(Console(file=io.StringIO()), {32: 60}, processes=2)
    assert progress.time_left() == ""
    progress.ran(result(32, 0, 13.0))
    progress.ran(result(32, 1, 12.0))
    assert progress.time_left() == "at most 5:48 left: the first trials compile"
    progress.ran(result(32, 2, 0.5))
    assert progress.time_left() == "about 0:14 left"
    for seed in (3, 4, 5):
        progress.ran(result(32, seed, 0.6))
    assert progress.time_left() == "about 0:16 left"


def test_a_width_that_was_not_timed_goes_by_its_neighbour():
    progress = SweepProgress(Console(file=io.StringIO()), {32: 4, 64: 4}, processes=1)
    progress.ran(result(64, 0, 20.0))
    progress.ran(result(64, 1, 8.0))
    progress.ran(result(32, 0, 15.0))  # compiles
    assert progress.time_left() == f"about 0:{round(2 * 8 + 3 * 8 / 2**1.5)} left"


def test_what_was_measured_needs_no_trial():
    progress = SweepProgress(Console(file=io.StringIO()), {32: 4}, processes=2)
    progress.measured(32, 30.0)
    assert progress.time_left() == "about 1:00 left"
    progress.measured(32, float("nan"))
    assert progress.time_left() == "about 1:00 left"
