"""Workers that nobody watches."""

import json
import os
import signal
import subprocess
import sys

import pytest
from helpers.clusters import TRIALS, Sweep

from mupwd.sweep.worker import work
from mupwd.sweep.workers import losses_of


def test_a_trial_that_ends_every_process_fails_in_the_end_and_the_others_run(tmp_path):
    one = ["--set", f"kills={2.0**-6}", "--weight_decays", "0.5", "--widths", "32", "--seeds", "1"]
    sweep = Sweep(tmp_path, *one, pause=0.0)
    codes, results = [], []
    for arguments in [sweep.declared, *[["--worker", "--retries", "0"]] * losses_of(0)]:
        process = sweep.start(*arguments, "--processes", "1")
        _, errors = process.communicate(timeout=60)
        codes.append(process.returncode)
        results.append(len(sweep.results()))
    # Once it is suspected it is tried last: the other two have finished by then.
    assert codes == [-signal.SIGKILL] * losses_of(0) + [1], errors
    assert results[2:] == [2] * len(results[2:])
    assert len(sweep.runs()) == 2
    failed = [json.loads(path.read_text()) for path in (sweep.directory / "failed").iterdir()]
    assert [len(one["attempts"]) for one in failed] == [losses_of(0)]
    assert all("ended while it ran this" in one["attempts"][0]["error"] for one in failed)


@pytest.mark.slow
def test_launchers_start_the_same_command_everywhere(tmp_path):
    sweep = Sweep(tmp_path, pause=0.02)
    workers = [sweep.start(*sweep.declared, "--worker", "--processes", "1") for _ in range(2)]
    errors = [worker.communicate(timeout=90)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    assert len(sweep.results()) == TRIALS == len(sweep.runs())
    assert not (sweep.directory / "summary.json").exists()
    other = sweep.start("--worker", "--seeds", "3")
    _, error = other.communicate(timeout=60)
    assert other.returncode == 2
    assert "holds another grid than the one declared for this worker" in error


CANCELLED = """
import os, signal, sys
from pathlib import Path
from mupwd.sweep.worker import work
signal.signal(signal.SIGTERM, lambda *_: None)
os.environ["CANCEL"] = "1"
work(Path(sys.argv[1]), processes=1)
"""


def test_a_worker_that_is_cancelled_while_it_prepares_ends(tmp_path):
    sweep = Sweep(tmp_path, pause=0.05)
    driver = sweep.start(*sweep.declared)
    sweep.wait_for(sweep.results, driver)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    results = sweep.results()
    # Its import is a part of the preparation; whoever started the worker ignores the signal, as submitit does.
    with (tmp_path / "counted.py").open("a") as module:
        module.write('\nif "CANCEL" in os.environ:\n    os.kill(os.getpid(), signal.SIGTERM)\n')
    ended = subprocess.run(
        [sys.executable, "-c", CANCELLED, sweep.directory],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "KeyboardInterrupt" in ended.stderr
    assert sweep.results() == results


def test_a_worker_needs_a_declared_sweep(tmp_path):
    with pytest.raises(ValueError, match="holds no sweep on this machine"):
        work(tmp_path)
