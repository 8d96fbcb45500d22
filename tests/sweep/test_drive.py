"""A study to its end, and past kills."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from helpers.synthetic import train
from rich.console import Console

from mupwd.sweep.claims import Claims
from mupwd.sweep.directory import run_in_directory
from mupwd.sweep.drive import run_study
from mupwd.sweep.errors import TrialError
from mupwd.sweep.fixed import FixedStudy
from mupwd.sweep.local import LocalExecutor
from mupwd.sweep.progress import SweepProgress
from mupwd.sweep.runner import Measurement, OneByOne
from mupwd.sweep.store import Store
from mupwd.sweep.study import Study
from mupwd.sweep.trial import Trial

STUDY = Study(
    widths=(32, 64),
    recipes=("stays", "moves"),
    learning_rates=tuple(2.0**k for k in range(-8, -3)),
    weight_decays=(2.0**-4, 2.0**-2, 2.0**0),
    seeds=(0, 1),
)


class Groups(OneByOne):
    """Takes four trials at a time."""

    def __init__(self, train):
        super().__init__(train)
        self.sizes = []

    def run(self, trials, folders):
        self.sizes.append(len(trials))
        rest = [
            {k: v for k, v in t.hyperparameters.items() if k not in ("learning_rate", "weight_decay")}
            for t in trials
        ]
        assert all(one == rest[0] for one in rest)
        assert len({trial.width for trial in trials}) == 1
        return super().run(trials, folders)

    def measure(self, trial, most):
        return Measurement(min(4, most), 0.01)


def drive(directory, runner=None, processes=1):
    ran, store = attempt(directory, runner, processes)
    return ran.complete(), store


def attempt(directory, runner=None, processes=1, study=STUDY, retries=0, notify=lambda text: None):
    console = Console(file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    store = Store(directory, notify)
    with (
        console.file,
        Claims(directory, notify, patience=5.0) as claims,
        LocalExecutor(runner or OneByOne(train), processes, store.folder) as executor,
        SweepProgress(console, study.expected(), processes) as progress,
    ):
        return run_study(study, store, claims, executor, progress, retries), store


def test_runs_all_that_is_wanted_and_nothing_twice(tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setenv("SYNTHETIC_LOG", str(log))
    results, store = drive(tmp_path / "a")
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines)) == len(results) == len(list(store.results()))
    again, _ = drive(tmp_path / "a")
    assert len(log.read_text().splitlines()) == len(lines)
    assert {one.trial.id: one.loss for one in again} == {one.trial.id: one.loss for one in results}


def test_groups_hold_trials_of_one_kind_and_give_the_same_results(tmp_path):
    runner = Groups(train)
    grouped, _ = drive(tmp_path / "a", runner)
    alone, _ = drive(tmp_path / "b")
    assert max(runner.sizes) == 4
    assert {one.trial.id: one.loss for one in grouped} == {one.trial.id: one.loss for one in alone}


def test_another_start_measures_nothing_again(tmp_path):
    class Measured(OneByOne):
        times = 0

        def measure(self, trial, most):
            self.times += 1
            return Measurement(1, 0.01)

    runner = Measured(train)
    for count in (3, 6):
        run_in_directory(FixedStudy(TRIALS[:count]), tmp_path / "a", runner, {}, "opening", 1)
    assert runner.times == 1
    # Of another kind of trial nothing is known yet.
    others = tuple(Trial(64, trial.hyperparameters, 0) for trial in TRIALS)
    run_in_directory(FixedStudy(others), tmp_path / "a", runner, {}, "opening", 1)
    assert runner.times == 2


def test_a_damaged_result_runs_again(tmp_path, monkeypatch):
    results, store = drive(tmp_path)
    store.path(results[3].trial).write_text("{")
    monkeypatch.setenv("SYNTHETIC_LOG", str(tmp_path / "log"))
    again, _ = drive(tmp_path)
    assert len((tmp_path / "log").read_text().splitlines()) == 1
    assert {one.trial.id: one.loss for one in again} == {one.trial.id: one.loss for one in results}


SCRIPT = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
import importlib.util
spec = importlib.util.spec_from_file_location("drive_test", sys.argv[3])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
if __name__ == "__main__":
    results, _ = module.drive(pathlib.Path(sys.argv[1]), processes=2)
    print(len(results))
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "drive_script.py"
    path.write_text(SCRIPT)
    tests = os.path.dirname(os.path.dirname(__file__))
    return [sys.executable, str(path), str(tmp_path / "sweep"), tests, __file__]


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_without_repeating_a_finished_trial(tmp_path, script):
    log = tmp_path / "log"
    environment = os.environ | {"SYNTHETIC_LOG": str(log), "SYNTHETIC_SECONDS": "0.02"}
    finished: set[str] = set()
    for wanted in (4, 20):
        process = subprocess.Popen(script, env=environment, start_new_session=True)
        deadline = time.monotonic() + 120
        while len(list((tmp_path / "sweep" / "trials").glob("*.json"))) < wanted:
            assert process.poll() is None, "ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = {path.name for path in (tmp_path / "sweep" / "trials").glob("*.json")}
        assert finished <= now
        finished = now
    before = {name: (tmp_path / "sweep" / "trials" / name).stat().st_mtime_ns for name in finished}
    done = subprocess.run(script, env=environment, check=True, capture_output=True, text=True)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "sweep" / "trials").glob("*.json")}
    assert int(done.stdout) == len(after)
    assert {name: after[name] for name in before} == before
    # Only what was running or on its way to the disk when it was killed: two trials per process and kill.
    lines = log.read_text().splitlines()
    assert len(lines) - len(set(lines)) <= 8
    assert len(set(lines)) == len(after)
    uninterrupted, _ = drive(tmp_path / "other")
    assert {f"{one.trial.id}.json" for one in uninterrupted} == after.keys()


def test_workers_end_with_a_killed_driver(tmp_path, script):
    environment = os.environ | {"SYNTHETIC_SECONDS": "0.2", "SYNTHETIC_LOG": str(tmp_path / "log")}
    process = subprocess.Popen(script, env=environment, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "log").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The session of the driver holds its workers; it is empty when they are gone.
    while subprocess.run(["pgrep", "--session", str(process.pid)], stdout=subprocess.DEVNULL).returncode == 0:
        assert time.monotonic() < deadline, "a worker outlived its driver"
        time.sleep(0.05)


@pytest.mark.slow
def test_several_processes_share_the_work_and_record_each_trial_once(tmp_path, script):
    log = tmp_path / "log"
    environment = os.environ | {"SYNTHETIC_LOG": str(log), "SYNTHETIC_SECONDS": "0.05"}
    processes = [
        subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    counts = [int(process.communicate(timeout=300)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines)) == counts[0] == counts[1]
    assert not list((tmp_path / "sweep" / "claims").iterdir())


def test_what_a_killed_process_had_claimed_is_run_by_the_one_that_lives_on(tmp_path, script):
    environment = os.environ | {"SYNTHETIC_LOG": str(tmp_path / "log"), "SYNTHETIC_SECONDS": "0.1"}
    first, second = (
        subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    )
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "sweep" / "trials").glob("*.json"))) < 10:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.kill()
    first.communicate()
    out, _ = second.communicate(timeout=300)
    uninterrupted, _ = drive(tmp_path / "other")
    assert int(out) == len(uninterrupted) == len(list((tmp_path / "sweep" / "trials").glob("*.json")))


TRIALS = tuple(
    Trial(32, {"learning_rate": 2.0**-k, "weight_decay": 0.1, "recipe": "stays"}, 0) for k in range(3, 9)
)


class Fails(OneByOne):
    """Fails at one learning rate: every time, or as often as a file has lines to spare."""

    def __init__(self, how, spare=None):
        super().__init__(train)
        self.how, self.spare = how, spare

    def run(self, trials, folders):
        if any(one.hyperparameters["learning_rate"] == 2.0**-5 for one in trials) and self.again():
            if self.how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ArithmeticError("a trial that fails")
        return super().run(trials, folders)

    def again(self):
        if self.spare is None:
            return True
        left = len(self.spare.read_text())
        self.spare.write_text("." * (left - 1) if left else "")
        return left > 0


class FailsInGroups(Fails):
    def measure(self, trial, most):
        return Measurement(6, 0.01)


@pytest.mark.parametrize(("how", "processes"), [("raises", 1), ("raises", 2), ("dies", 2)])
def test_a_trial_that_fails_does_not_stop_the_others_and_is_recorded(tmp_path, how, processes):
    ran, store = attempt(tmp_path, Fails(how), processes, FixedStudy(TRIALS), retries=2)
    assert len(ran.results) == len(TRIALS) - 1
    ((trial, error),) = ran.failed.items()
    assert trial.hyperparameters["learning_rate"] == 2.0**-5
    assert ("ended by signal 9 (SIGKILL); killed perhaps for want of memory" in error) == (how == "dies")
    assert len(store.failures(trial)) == 3
    with pytest.raises(TrialError, match=r"(?s)a trial failed \(stays, width 32.*finished ones are kept"):
        ran.complete()
    # Another start tries no more than it is told to, and one that is told to does.
    assert len(attempt(tmp_path, Fails(how), processes, FixedStudy(TRIALS), retries=2)[0].failed) == 1
    again, _ = attempt(tmp_path, OneByOne(train), processes, FixedStudy(TRIALS), retries=3)
    assert len(again.results) == len(TRIALS)


def test_what_another_process_has_given_up_meanwhile_is_not_tried_again(tmp_path):
    class Elsewhere(OneByOne):
        ran = ()

        def run(self, trials, folders):
            self.ran = (*self.ran, *trials)
            if len(self.ran) == 1:
                Store(tmp_path, print).put_failure(TRIALS[-1], "elsewhere")
            return super().run(trials, folders)

    runner = Elsewhere(train)
    ran, _ = attempt(tmp_path, runner, study=FixedStudy(TRIALS), retries=0)
    assert TRIALS[-1] not in runner.ran
    assert list(ran.failed.values()) == ["elsewhere"]


def test_what_a_signal_ended_has_not_failed(tmp_path):
    """Libraries in C++ turn the interruption into errors of their own."""

    class Translates(OneByOne):
        def run(self, trials, folders):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            raise ArithmeticError("interrupted")

    with pytest.raises(KeyboardInterrupt):
        run_in_directory(FixedStudy(TRIALS), tmp_path / "a", Translates(train), {}, "opening", 1)
    assert list((tmp_path / "a" / "failed").iterdir()) == []
    assert list((tmp_path / "a" / "claims").iterdir()) == []


def test_a_trial_that_fails_once_is_tried_again(tmp_path):
    (tmp_path / "spare").write_text(".")
    ran, store = attempt(
        tmp_path / "a", Fails("raises", tmp_path / "spare"), 1, FixedStudy(TRIALS), retries=1
    )
    assert len(ran.complete()) == len(TRIALS)
    assert sum(len(store.failures(trial)) for trial in TRIALS) == 1


def test_in_a_group_that_fails_only_the_one_to_blame_has_failed(tmp_path):
    ran, store = attempt(tmp_path, FailsInGroups("raises"), 1, FixedStudy(TRIALS))
    assert len(ran.results) == len(TRIALS) - 1
    assert [len(store.failures(trial)) for trial in TRIALS] == [0, 0, 1, 0, 0, 0]


def test_the_first_result_stands_where_a_process_slept_through_its_claim(tmp_path):
    """Another process took the claim away, ran the trial and recorded it while this one was at it."""

    class Overtaken(OneByOne):
        def run(self, trials, folders):
            shutil.rmtree(tmp_path / "claims")
            (tmp_path / "claims").mkdir()
            drive_one(tmp_path, trials[0])
            return [{"eval/loss": 99.0} for _ in trials]

    def drive_one(directory, trial):
        return attempt(directory, study=FixedStudy((trial,)))

    ran, _ = attempt(tmp_path, Overtaken(train), 1, FixedStudy(TRIALS[:1]))
    assert ran.results[0].loss < 99.0


def test_ctrl_c_that_python_drops_still_ends_the_run(tmp_path):
    """As it does where it arrives in a finalizer."""

    class Swallows(OneByOne):
        ran = 0

        def run(self, trials, folders):
            self.ran += 1
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            return super().run(trials, folders)

    runner = Swallows(train)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_in_directory(FixedStudy(TRIALS), tmp_path / "a", runner, {}, "opening", 1)
    assert runner.ran == 1
    assert len(list((tmp_path / "a" / "trials").glob("*.json"))) == 1
    assert list((tmp_path / "a" / "claims").iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is before
