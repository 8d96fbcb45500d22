"""Searches in real processes: killed in the middle, then finished by two at once."""

import os
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[1])
from helpers.searches import halving, optuna
from helpers.synthetic import train
from mupwd.sweep.directory import run_in_directory
from mupwd.sweep.runner import OneByOne
from rich.console import Console

search = {"halving": halving, "optuna": optuna}[sys.argv[2]](widths=(32, 64))
ran = run_in_directory(
    search, pathlib.Path(sys.argv[3]), OneByOne(train), {}, "", 1, Console(file=open(os.devnull, "w"))
)
print(*sorted(result.trial.id for result in ran.complete()))
"""


def start(kind, directory, log, pause):
    tests = os.path.dirname(os.path.dirname(__file__))
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, tests, kind, str(directory)],
        env=os.environ | {"SYNTHETIC_LOG": str(log), "SYNTHETIC_SECONDS": str(pause)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("kind", ["halving", pytest.param("optuna", marks=pytest.mark.slow)])
def test_killed_in_the_middle_two_processes_finish_it_and_nothing_runs_again(kind, tmp_path):
    from helpers import searches

    expected = sorted(searches.run(getattr(searches, kind)(widths=(32, 64))))
    directory, log = tmp_path / "sweep", tmp_path / "log"
    process = start(kind, directory, log, 0.02)
    deadline = time.monotonic() + 300
    # In the second generation, and past the first rung.
    while len(list(directory.glob("trials/*.json"))) < len(expected) // 2:
        assert process.poll() is None, "ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {path.name: path.stat().st_mtime_ns for path in directory.glob("trials/*.json")}
    assert len(before) < len(expected)
    both = [start(kind, directory, log, 0.01) for _ in range(2)]
    found = [one.communicate(timeout=300)[0].split() for one in both]
    assert [one.returncode for one in both] == [0, 0]
    # What two processes want, sharing the work, is what one wants.
    assert found == [expected, expected]
    after = {path.name: path.stat().st_mtime_ns for path in directory.glob("trials/*.json")}
    assert before.items() <= after.items()
    assert sorted(name.removesuffix(".json") for name in after) == expected
    # Only what ran when it was killed ran twice.
    lines = log.read_text().splitlines()
    assert len(expected) <= len(lines) <= len(expected) + 1
