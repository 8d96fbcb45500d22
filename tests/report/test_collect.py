"""Directories as data, in whatever state their files are."""

import json
import math
import shutil

import pytest
from helpers.logs import WIDTHS, write_run, write_sweep

from mupwd.report.collect import collect
from mupwd.report.payload import as_text, payload


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    directory = tmp_path_factory.mktemp("collect") / "sweep"
    write_sweep(directory)
    return directory


def test_a_sweep_is_one_group_with_logs_and_plans(sweep):
    (group,) = collect([sweep])
    assert len(group.runs) == 2 * len(WIDTHS) * 7 * 4 * 2
    with_logs = [run for run in group.runs if run.log.series]
    assert len(with_logs) == 2 * len(WIDTHS) * 2
    assert all(run.plan is not None and run.status == "finished" for run in with_logs)
    assert {run.status for run in group.runs} == {"finished", "diverged"}
    assert group.notes == []


def test_single_runs_on_one_corpus_are_one_group_and_may_still_be_running(tmp_path):
    for width in WIDTHS:
        write_run(tmp_path / f"w{width}", width)
    (group,) = collect([tmp_path / f"w{width}" for width in reversed(WIDTHS)])
    assert [run.width for run in group.runs] == list(WIDTHS)
    assert {run.status for run in group.runs} == {"running"}
    found = payload([group])
    assert found["verdicts"] == []
    assert found["widths"] == list(WIDTHS)


def test_damaged_results_logs_and_plans_are_left_out_and_said_so(sweep, tmp_path):
    directory = tmp_path / "damaged"
    shutil.copytree(sweep, directory)
    results = sorted((directory / "trials").glob("*.json"))
    results[0].write_text('{"half')
    results[1].write_text("[" * 100_000)
    content = json.loads(results[2].read_text())
    results[2].write_text(json.dumps({**content, "seed": 99}))
    logs = sorted((directory / "trials").glob("*/metrics.jsonl"))
    logs[0].write_bytes(logs[0].read_bytes() + b"not json\n")
    (logs[1].parent / "plan.json").write_text("{")
    (directory / "steady.json").write_text("[]")
    (directory / "coordinates.json").write_bytes(b"\xff")
    (group,) = collect([directory])
    assert len(group.notes) >= 6
    text = as_text(payload([group]))
    assert "is left out" in text
    assert "1 line is no record" in text
    assert json.loads(text)["verdicts"]


def test_a_directory_of_nothing_and_one_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"holds no run \(no metrics.jsonl\), no sweep \(no trials/\) and no check"
    ):
        collect([tmp_path])
    with pytest.raises(FileNotFoundError, match="is no directory; give those of runs, sweeps or checks"):
        collect([tmp_path / "gone"])


def test_a_log_without_a_manifest_is_a_run_of_unknown_width(tmp_path):
    write_run(tmp_path / "run", 64)
    (tmp_path / "run" / "manifest.json").unlink()
    (group,) = collect([tmp_path / "run"])
    assert group.runs[0].width == 0
    assert math.isnan(group.runs[0].learning_rate)
    assert payload([group])["runs"][0]["pair"] == ""
