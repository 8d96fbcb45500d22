"""Sweeps on Ray, started on this machine: shared, killed, refused."""

import pytest
from helpers.clusters import TRIALS, Sweep

from mupwd.sweep.errors import SweepError
from mupwd.sweep.ray_workers import RayWorkers

pytest.importorskip("ray", reason="the extra ray is not installed")
ON = ["--executor", "ray", "--workers", "2", "--resource", "num_cpus=1"]


def test_a_worker_that_is_killed_is_replaced_and_a_killed_driver_goes_on(tmp_path):
    sweep = Sweep(tmp_path, pause=0.2)
    driver = sweep.start(*sweep.declared, *ON)
    sweep.wait_for(lambda: len(sweep.results()) >= 4, driver)
    driver.kill()
    driver.communicate()
    finished = {path: path.stat().st_mtime_ns for path in sweep.directory.glob("trials/*.json")}
    driver = sweep.start(*ON)
    sweep.wait_until_begun(driver)
    sweep.wait_for(lambda: sweep.owners(), driver)
    killed = sweep.kill_an_owner()
    out, errors = driver.communicate(timeout=120)
    assert driver.returncode == 0, errors
    assert f"{TRIALS} trials have results" in out
    assert "ended (" in errors
    assert any(f'"pid": {killed},' in path.read_text() for path in (sweep.directory / "lost").iterdir())
    assert len(sweep.results()) == TRIALS == len(set(sweep.runs()))
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert sweep.owners() == set()


def test_a_cluster_that_is_not_there_is_said(tmp_path):
    with pytest.raises(SweepError, match=r"cannot reach the Ray cluster ray://127.0.0.1:1: .*refused"):
        RayWorkers(tmp_path, {"address": "ray://127.0.0.1:1"}, None, 1, print)
