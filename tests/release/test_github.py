"""What GitHub and pre-commit are told: that it can be read, and that what it names is there."""

import re
from pathlib import Path

import pytest
import yaml

from mupwd.commands.main import main

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))  # all but config.yml


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(job):
    """What a job runs, and the Pythons that it sets up, the default one last."""
    runs = [step["run"] for step in job["steps"] if "run" in step]
    (pythons,) = (
        step["with"]["python-version"].split()
        for step in job["steps"]
        if "setup-python" in step.get("uses", "")
    )
    return runs, pythons


def test_ci_is_what_runs_here_on_two_pythons():
    runs, pythons = steps(read(WORKFLOWS / "ci.yml")["jobs"]["ci"])
    assert runs == [".ci/run"]
    # .ci/run takes the default for all tests and looks for a second, newer one by its name.
    assert pythons == ["3.12", "3.11"]
    assert f"for version in {pythons[0]} " in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_a_release_is_tested_and_tried_before_it_is_published():
    jobs = read(WORKFLOWS / "release.yml")["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/ci.yml"
    assert set(jobs["publish"]["needs"]) == {"test", "slow", "build"}
    assert steps(jobs["slow"])[0][-1].endswith("pytest -m slow")
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    runs, pythons = steps(jobs["build"])
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert sorted(pythons) == re.findall(r'"Programming Language :: Python :: (3\.\d+)"', metadata)
    for script in re.findall(r"python3 (\S+\.py)", "\n".join(runs)):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_ask_for_what_a_user_can_run(path, capsys):
    form = read(path)
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(set(ids)) == len(ids)
    for command in set(re.findall(r"`mupwd ([a-z]+)", str(form))):
        with pytest.raises(SystemExit) as end:
            main([command, "--help"])
        assert end.value.code == 0
        capsys.readouterr()


def test_pre_commit_runs_the_tools_of_make_lint():
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    entries = [hook["entry"].split(" --")[0] for hook in repository["hooks"]]
    assert entries[:3] == [".venv/bin/ruff check", ".venv/bin/ruff format", ".venv/bin/pyright"]
