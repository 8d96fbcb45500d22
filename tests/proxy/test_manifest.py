import json
import uuid

import pytest
from helpers.together import together

from mupwd.proxy.manifest import FILE_NAME, open_manifest, plan_digest, read_manifest
from mupwd.proxy.model_family import family
from mupwd.proxy.result import read_result

RUN = {"width": 32, "train": {"steps": 10, "clip": None}, "betas": (0.9, 0.95)}


def test_a_new_directory_gets_a_manifest_and_the_same_run_finds_it(tmp_path):
    directory = tmp_path / "a" / "b"
    assert open_manifest(directory, RUN) is False
    assert open_manifest(directory, RUN) is True
    manifest = read_manifest(directory)
    assert manifest["run"] == {"width": 32, "train": {"steps": 10, "clip": None}, "betas": [0.9, 0.95]}
    environment = manifest["environment"]
    assert environment["versions"]["jax"]
    assert environment["device"]["platform"] == "cpu"
    assert sorted(entry.name for entry in directory.iterdir()) == [FILE_NAME]


def test_another_run_is_refused_with_the_differences(tmp_path):
    open_manifest(tmp_path / "run", RUN)
    with pytest.raises(ValueError, match="holds another run") as error:
        open_manifest(tmp_path / "run", {**RUN, "width": 64, "train": {"steps": 20, "clip": None}})
    assert str(error.value).splitlines()[1:] == [
        "  train.steps: 10 in the directory, 20 asked for",
        "  width: 32 in the directory, 64 asked for",
    ]


def test_a_directory_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"holds no run .* but other files \(thesis.tex\)"):
        open_manifest(tmp_path, RUN)


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file; give the directory"):
        open_manifest(tmp_path / "file", RUN)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"schema": 99})])
def test_a_damaged_manifest_is_refused(tmp_path, text):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json is not"):
        open_manifest(tmp_path, RUN)


def test_plan_digest_sees_a_rule_change_and_nothing_else():
    plans = family(base=32)
    assert plan_digest(plans.plan(64)) == plan_digest(plans.plan(64))
    digests = {plan_digest(plans.plan(64, recipe=recipe)) for recipe in ("mupwd", "mup", "mup_linear", "sp")}
    assert len(digests | {plan_digest(plans.plan(128))}) == 5


def test_of_several_processes_that_start_a_run_together_none_is_turned_away(tmp_path):
    printed = together(
        3,
        "import pathlib\nfrom mupwd.proxy.manifest import open_manifest\n",
        "print(sum(not open_manifest(pathlib.Path(sys.argv[1], str(n)), {'a': 1}) for n in range(40)))\n",
        tmp_path,
    )
    first = [int(text) for text in printed]
    assert sum(first) == 40


def test_what_a_kill_left_of_a_manifest_does_not_lock_the_directory(tmp_path):
    (tmp_path / f".{uuid.uuid4().hex}.tmp").write_text("{")
    assert open_manifest(tmp_path, {"a": 1}) is False
    assert open_manifest(tmp_path, {"a": 1}) is True


def test_a_manifest_without_its_parts_is_refused(tmp_path):
    open_manifest(tmp_path / "run", RUN)
    file = tmp_path / "run" / FILE_NAME
    file.write_text(json.dumps({"schema": json.loads(file.read_text())["schema"]}))
    with pytest.raises(
        ValueError, match=r"manifest\.json has no 'run': it is damaged; put it back from a copy"
    ):
        read_manifest(tmp_path / "run")


def test_a_directory_without_a_manifest_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in .*: it is not the directory of a run"):
        read_manifest(tmp_path)


def test_a_damaged_result_is_refused(tmp_path):
    (tmp_path / "result.json").write_text("[]")
    with pytest.raises(
        ValueError, match=r"result\.json is not the result of a run .*; remove it to run again"
    ):
        read_result(tmp_path)
