"""Sweeps on a real SLURM of one node: shared, preempted, killed, refused."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from helpers.clusters import TRIALS, Sweep

pytest.importorskip("submitit", reason="the extra slurm is not installed")
SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_one_node.sh"
ON = ["--executor", "slurm", "--workers", "2", "--resource", "partition=low"]


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory):
    """A cluster of this machine alone, where one can be had."""
    # Not where pytest keeps its files: paths of sockets are short.
    folder = Path(f"/tmp/mupwd-slurm-{os.getpid()}")
    ports = {"SLURMCTLD_PORT": str(_free_port()), "SLURMD_PORT": str(_free_port())}
    started = subprocess.run(
        [SCRIPT, "start", folder], capture_output=True, text=True, env=os.environ | ports, timeout=300
    )
    if started.returncode:
        subprocess.run([SCRIPT, "stop", folder], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"no SLURM of one node here: {started.stderr.strip()}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield
        subprocess.run([SCRIPT, "stop", folder], capture_output=True, check=True)
    shutil.rmtree(folder, ignore_errors=True)


def queue(states="PENDING,RUNNING"):
    listed = subprocess.run(
        ["squeue", "--noheader", f"--states={states}", "--format=%A"],
        capture_output=True,
        text=True,
        check=True,
    )
    return listed.stdout.split()


@pytest.mark.slow
def test_workers_are_preempted_and_others_finish(tmp_path):
    sweep = Sweep(tmp_path)
    driver = sweep.start(*sweep.declared, *ON)
    sweep.wait_for(lambda: len(sweep.results()) >= 4, driver)
    jobs = queue("RUNNING")
    # All cores, in the partition that goes first.
    subprocess.run(["srun", "--partition=high", "--exclusive", "sleep", "1"], check=True, timeout=60)
    out, errors = driver.communicate(timeout=120)
    assert driver.returncode == 0, errors
    assert f"{TRIALS} trials have results" in out
    # Preempted jobs gave up their claims, and what they ran was run once more and recorded once.
    assert "ended (" in errors
    assert len(jobs) == 2
    assert len(sweep.results()) == TRIALS == len(set(sweep.runs()))
    assert len(sweep.runs()) <= TRIALS + 2
    assert not list((sweep.directory / "lost").iterdir())
    assert queue() == []


def test_a_job_that_vanishes_is_replaced_and_a_killed_driver_finds_its_jobs(tmp_path):
    sweep = Sweep(tmp_path, pause=0.3)
    driver = sweep.start(*sweep.declared, *ON)
    sweep.wait_for(lambda: len(sweep.results()) >= 4 and len(sweep.owners()) == 2, driver)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    jobs = queue()
    assert len(jobs) == 2
    finished = {path: path.stat().st_mtime_ns for path in sweep.directory.glob("trials/*.json")}
    driver = sweep.start(*ON)
    sweep.wait_until_begun(driver)
    assert sorted(queue()) == sorted(jobs)
    sweep.kill_an_owner()
    out, errors = driver.communicate(timeout=120)
    assert driver.returncode == 0, errors
    assert f"{TRIALS} trials have results" in out
    assert errors.count("ended (") == 1
    assert len(sweep.results()) == TRIALS == len(set(sweep.runs()))
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert len(list((sweep.directory / "lost").iterdir())) == 1


def test_ctrl_c_cancels_the_jobs(tmp_path):
    sweep = Sweep(tmp_path, pause=1.0)
    driver = sweep.start(*sweep.declared, *ON)
    sweep.wait_for(lambda: sweep.owners(), driver)
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "goes on" in errors
    # A cancelled job leaves the queue's running ones first and gives up its claim after that.
    deadline = time.monotonic() + 60
    while queue("PENDING,RUNNING,COMPLETING") or sweep.owners():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_what_slurm_refuses_is_said(tmp_path):
    sweep = Sweep(tmp_path)
    driver = sweep.start(*sweep.declared, "--executor", "slurm", "--resource", "partition=nowhere")
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 2
    assert "SLURM takes no job" in errors
    assert "invalid partition" in errors
