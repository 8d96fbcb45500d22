"""Trials in this process and in others."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from helpers.synthetic import train

from mupwd.sweep.local import Failed, LocalExecutor, _Task, _Worker
from mupwd.sweep.runner import OneByOne
from mupwd.sweep.trial import Result, Trial


def trials(count, **values):
    return [
        Trial(32, {"learning_rate": 2.0**-k, "weight_decay": 0.1, "recipe": "stays"} | values, 0)
        for k in range(4, 4 + count)
    ]


class TellsWhere:
    """Returns as loss the process that ran the trial, and how many cores it may use."""

    def run(self, trials, folders):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        return [{"eval/loss": float(os.getpid()), "cores": cores} for _ in trials]


def test_a_process_keeps_to_the_kinds_that_it_has_compiled():
    ours, theirs = zip(*(multiprocessing.Pipe() for _ in range(2)), strict=True)
    executor = LocalExecutor(OneByOne(train), 2)
    executor._workers = [_Worker(None, connection, set()) for connection in ours]
    groups = [trials(3), trials(3, recipe="moves"), trials(3, steps=7)]
    waiting = [_Task([trial], None, [None]) for group in groups for trial in group]
    taken = []
    for worker in (0, 1, 1, 1, 1, 0, 0, 0, 1):
        executor._give(executor._workers[worker], waiting, {}, lambda trial: True)
        (trial,) = theirs[worker].recv().trials
        taken.append(
            next(index for index, group in enumerate(groups) if trial.id in {one.id for one in group})
        )
    # Own kinds first, then a kind that nobody has, and in the end the others' as well.
    assert taken == [0, 1, 1, 1, 2, 0, 0, 2, 2]
    for connection in (*ours, *theirs):
        connection.close()


class EndsItself:
    def run(self, trials, folders):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("processes", [1, 2])
def test_every_group_comes_back_with_its_results(processes):
    groups = [trials(5)[:3], trials(5)[3:]]
    with LocalExecutor(OneByOne(train), processes) as executor:
        results = [result for group in executor.run(groups) for result in group]
    assert {result.trial.id for result in results} == {trial.id for trial in trials(5)}
    for result in results:
        alone = train(32, result.trial.hyperparameters, 0, None)
        assert result.metrics == alone


def test_other_processes_have_one_core_each_and_live_on():
    with LocalExecutor(TellsWhere(), 2) as executor:
        first = [group[0] for group in executor.run([[trial] for trial in trials(4)])]
        second = [group[0] for group in executor.run([[trial] for trial in trials(4)])]
    used = {result.loss for result in first + second}
    assert len(used) <= 2
    assert os.getpid() not in used
    assert {result.metrics["cores"] for result in first} == {1}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_trial_that_raises_comes_back_with_its_traceback_and_the_rest_with_results(processes):
    with LocalExecutor(OneByOne(train), processes) as executor:
        outcomes = list(executor.run([[trial] for trial in trials(4, fails=2.0**-5)]))
    (failed,) = (one for one in outcomes if isinstance(one, Failed))
    assert failed.trials[0].hyperparameters["learning_rate"] == 2.0**-5
    assert "Traceback" in failed.error
    assert "ArithmeticError: a trial that fails" in failed.error
    assert len(outcomes) == 4


def test_a_process_that_is_killed_is_noticed_and_replaced():
    with LocalExecutor(EndsItself(), 2) as executor:
        outcomes = list(executor.run([[trial] for trial in trials(3)]))
    assert all(isinstance(one, Failed) for one in outcomes)
    assert len(outcomes) == 3
    assert "ended by signal 9 (SIGKILL)" in outcomes[0].error


def test_a_trial_that_is_refused_is_left_out_and_the_rest_of_its_group_runs():
    group = trials(4)
    for processes in (1, 2):
        with LocalExecutor(OneByOne(train), processes) as executor:
            found = list(executor.run([group], lambda trial: trial is not group[1]))
        assert [[one.trial.id for one in results] for results in found] == [
            [group[0].id, group[2].id, group[3].id]
        ]
        with LocalExecutor(OneByOne(train), processes) as executor:
            assert list(executor.run([group], lambda trial: False)) == []


def test_a_trial_has_a_folder_of_its_own(tmp_path):
    def writes(width, hyperparameters, seed, directory):
        (directory / "note").write_text(str(seed))
        return {"eval/loss": 1.0}

    with LocalExecutor(OneByOne(writes), 1, lambda trial: tmp_path / trial.id) as executor:
        list(executor.run([trials(2)]))
    assert {path.parent.name for path in tmp_path.glob("*/note")} == {trial.id for trial in trials(2)}


def test_no_process_is_refused():
    with pytest.raises(ValueError, match="processes must be at least 1, got 0"):
        LocalExecutor(OneByOne(train), 0)


def test_metrics_without_the_held_out_loss_are_refused_and_arrays_become_numbers():
    trial = Trial(32, {"learning_rate": 0.1, "weight_decay": 0.1}, 0)
    (metrics,) = OneByOne(lambda *_: {"eval/loss": np.float32(2.5), "status": "finished"}).run(
        [trial], [None]
    )
    assert metrics == {"eval/loss": 2.5, "status": "finished"}
    assert type(metrics["eval/loss"]) is float
    with pytest.raises(ValueError, match="returned no 'eval/loss'; it returned loss"):
        OneByOne(lambda *_: {"loss": 1.0}).run([trial], [None])


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned no 'eval/loss'; it returned None"),
        ({}, "returned no 'eval/loss'; it returned nothing"),
        ({"eval/loss": "diverged"}, "'eval/loss' is 'diverged'; expected a number, NaN if it diverged"),
    ],
)
def test_what_is_no_metrics_is_said_so(returned, message):
    with LocalExecutor(OneByOne(lambda *_: returned), 1) as executor:
        (failed,) = executor.run([trials(1)])
    assert message in failed.error
    with pytest.raises(ValueError, match=re.escape(message)):
        OneByOne(lambda *_: returned).run(trials(1), [None])


def test_a_train_function_may_do_what_it_likes_with_its_hyperparameters_and_end_the_process():
    def takes(width, hyperparameters, seed, directory):
        if hyperparameters.pop("learning_rate") == 2.0**-5:
            raise SystemExit("no data")
        return {"eval/loss": 1.0, "converged": True, "steps": np.int64(3)}

    group = trials(2)
    with LocalExecutor(OneByOne(takes), 1) as executor:
        (result,), failed = executor.run([[one] for one in group])
    assert Result.from_json(result.as_json()).metrics == {"eval/loss": 1.0, "converged": 1.0, "steps": 3.0}
    assert result.trial.id == group[0].id == Trial(32, group[0].hyperparameters, 0).id
    assert "SystemExit: no data" in failed.error


def starts_a_process(width, hyperparameters, seed, directory):
    child = multiprocessing.get_context("spawn").Process(target=print)
    child.start()
    child.join()
    return {"eval/loss": 1.0}


def test_trials_may_have_processes_of_their_own():
    with LocalExecutor(OneByOne(starts_a_process), 2) as executor:
        ((result,),) = executor.run([trials(1)])
    assert result.loss == 1.0


def ends_its_processes(width, hyperparameters, seed, directory):
    waits = [sys.executable, "-c", "import time; time.sleep(60)"]
    ended, forked = (
        subprocess.Popen(waits),
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, which this child does not need
        forked.start()
    for child in (ended, forked):
        child.terminate()
    forked.join()
    left = subprocess.Popen(waits)
    return {"eval/loss": 1.0, "ended": ended.wait(), "forked": forked.exitcode, "left": left.pid}


def test_trials_may_end_their_processes_and_what_they_leave_ends_with_the_run():
    with LocalExecutor(OneByOne(ends_its_processes), 2) as executor:
        ((result,),) = executor.run([trials(1)])
        os.kill(int(result.metrics["left"]), 0)
    assert result.metrics["ended"] == result.metrics["forked"] == -signal.SIGTERM
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{result.metrics['left']}/cmdline") and _command(result.metrics["left"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _command(pid):
    """Empty of a process that has ended and that nobody has asked after."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""
