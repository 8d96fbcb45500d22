"""A study to its end, and past kills."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.synthetic import train
from rich.console import Console

from mupwd.sweep.drive import run_study
from mupwd.sweep.local import LocalExecutor, Measurement, OneByOne
from mupwd.sweep.progress import SweepProgress
from mupwd.sweep.store import Store
from mupwd.sweep.study import Study

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

    def run(self, trials):
        self.sizes.append(len(trials))
        rest = [
            {k: v for k, v in t.hyperparameters.items() if k not in ("learning_rate", "weight_decay")}
            for t in trials
        ]
        assert all(one == rest[0] for one in rest)
        assert len({trial.width for trial in trials}) == 1
        return super().run(trials)

    def measure(self, trial, most):
        return Measurement(min(4, most), 0.01)


def drive(directory, runner=None, processes=1):
    console = Console(file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    store = Store(directory, lambda text: None)
    with (
        console.file,
        store.lock(),
        LocalExecutor(runner or OneByOne(train), processes) as executor,
        SweepProgress(console, STUDY.expected(), processes) as progress,
    ):
        return run_study(STUDY, store, executor, progress), store


def test_runs_all_that_is_wanted_and_nothing_twice(tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setenv("SYNTHETIC_LOG", str(log))
    results, store = drive(tmp_path / "a")
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines)) == len(results) == store.count()
    again, _ = drive(tmp_path / "a")
    assert len(log.read_text().splitlines()) == len(lines)
    assert {one.trial.id: one.loss for one in again} == {one.trial.id: one.loss for one in results}


def test_groups_hold_trials_of_one_kind_and_give_the_same_results(tmp_path):
    runner = Groups(train)
    grouped, _ = drive(tmp_path / "a", runner)
    alone, _ = drive(tmp_path / "b")
    assert max(runner.sizes) == 4
    assert {one.trial.id: one.loss for one in grouped} == {one.trial.id: one.loss for one in alone}


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
    while True:
        try:
            # The session of the driver holds its workers; it is empty when they are gone.
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline, "a worker outlived its driver"
        time.sleep(0.05)
