"""Directories as data, in whatever state their files are."""

import json
import math
import os
import shutil

import pytest
from helpers.logs import WIDTHS, write_run, write_sweep

from mupwd.report.collect import collect
from mupwd.report.page import report_page
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


def test_single_runs_of_another_base_or_training_are_other_groups_named_by_what_differs(tmp_path):
    train = {"batch_size": 4, "steps": 400, "log_every": 10}
    for name, width, about in (
        ("a", 32, {"base": 32, "train": train}),
        ("b", 64, {"base": 32, "train": {**train, "steps": 800, "warmup": 80, "log_every": 20}}),
        ("c", 64, {"base": 64, "train": train}),
        ("d", 64, {"base": 32, "train": {**train, "batch_size": 8}}),
    ):
        write_run(tmp_path / name, width, about=about)
    groups = collect([tmp_path / name for name in "abcd"])
    assert {group.name: [run.name for run in group.runs] for group in groups} == {
        "runs with base 32, batch_size 4": ["a", "b"],
        "runs with base 64, batch_size 4": ["c"],
        "runs with base 32, batch_size 8": ["d"],
    }


def test_what_cannot_be_read_costs_itself_alone(sweep, tmp_path):
    directory = tmp_path / "sweep"
    shutil.copytree(sweep, directory)
    (directory / "trials" / "gone.json").symlink_to("nowhere")
    (directory / "trials" / "0.json").mkdir()
    (directory / "coordinates.json").mkdir()
    log, plan = (
        sorted((directory / "trials").glob(f"*/{name}"))[0] for name in ("metrics.jsonl", "plan.json")
    )
    for file in (log, plan):
        file.unlink()
        file.mkdir()
    (group,) = collect([directory])
    assert len([run for run in group.runs if run.log.series]) == 2 * len(WIDTHS) * 2 - 1 + 1  # its last step
    for name in ("gone.json", "0.json", "coordinates.json", f"{log.parent.name}/metrics.jsonl", "plan.json"):
        assert any(f"{name} is left out: " in one for one in group.notes), name
    assert len(payload([group])["verdicts"]) == 2


def test_an_empty_directory_beside_a_sweep_is_noted(sweep, tmp_path):
    (tmp_path / "empty").mkdir()
    (group,) = collect([tmp_path / "empty", sweep])
    assert any("empty holds no run" in one for one in group.notes)


def test_hostile_numbers_are_left_out(tmp_path):
    huge = 10**400
    for name, about in (
        ("a", {"learning_rate": huge, "weight_decay": -huge}),
        ("b", {"train": {"steps": [1], "batch_size": {}, "sequence_length": None}}),
        ("c", {"train": {"steps": None, "batch_size": 4, "sequence_length": 8}, "corpus": {"source": 7}}),
        ("d", {"width": huge, "seed": huge}),
    ):
        write_run(tmp_path / name, 32, about=about)
        (tmp_path / name / "result.json").write_text(
            json.dumps({"status": "finished", "eval/loss": huge, "step": huge, "spectral/w/sigma_1": [1]})
        )
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "manifest.json").write_text('{"run": null}')
    (tmp_path / "e" / "metrics.jsonl").write_text('{"step": 1, "train/loss": 2.0}\n')
    found = json.loads(as_text(payload(collect([tmp_path / name for name in "abcde"]))))
    assert len(found["runs"]) == 5
    assert all(isinstance(one["whole"], dict) for one in found["manifest"])
    assert [run["step"] for run in found["runs"] if run["name"] == "a"] == [400]


def test_a_hostile_trial_is_left_out(sweep, tmp_path):
    directory = tmp_path / "sweep"
    shutil.copytree(sweep, directory)
    files = sorted((directory / "trials").glob("*.json"))
    for file, changes in zip(
        files,
        ({"seconds": 10**400}, {"metrics": {"eval/loss": 10**400}}, {"width": 10**400}),
        strict=False,
    ):
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    (directory / "manifest.json").write_text('{"run": null}')
    (group,) = collect([directory])
    assert len(group.notes) == 3
    assert len(payload([group])["verdicts"]) == 2


def test_a_name_that_is_no_utf8_is_shown(tmp_path):
    directory = tmp_path / os.fsdecode(b"\xff")
    write_run(directory / "trials" / "one", 32)
    assert "1 run of �" in report_page([directory]).encode().decode()


def test_a_plan_of_impossible_numbers_is_left_out(tmp_path):
    for name, changes in (("a", {"base": 0}), ("b", {"width": "64"}), ("c", {"batch_ratio": 10**400})):
        write_run(tmp_path / name, 64)
        file = tmp_path / name / "plan.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    (group,) = collect([tmp_path / name for name in "abc"])
    assert [run.plan is None for run in group.runs] == [True, True, True]
    for note, name in zip(group.notes, "abc", strict=True):
        assert note.startswith(f"{name}/plan.json is left out: ")
    assert len(payload([group])["runs"]) == 3
