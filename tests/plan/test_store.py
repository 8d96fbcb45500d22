"""Plans survive a file, and a file that is not a plan is refused by name."""

import json
import os
from dataclasses import replace

import pytest
from helpers.parameters import llama, llama_plan

from mupwd import recipes
from mupwd.plan import Plan, PlanError, make_plan
from mupwd.recipes import Powers


@pytest.fixture
def file(tmp_path):
    return tmp_path / "plan.json"


def own_recipe():
    mupwd = recipes.get("mupwd")
    return replace(mupwd, name="mine", matrix=replace(mupwd.matrix, wd=Powers(m_in=0.6)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"form": "forward", "recipe": "mup"},
        {"recipe": "sp"},
        {"recipe": "completed_p", "batch_ratio": 3.0, "token_ratio": 7.0, "sequence_ratio": 2.0},
        {"recipe": recipes.fitted({".*mlp.*": 0.9, ".*attention.*": 0.7})},
        {"recipe": own_recipe()},
    ],
    ids=["mupwd", "forward", "sp", "completed_p", "fitted", "own"],
)
def test_a_saved_plan_is_the_same_plan(file, options):
    plan = llama_plan(256, 384, **options)
    plan.save(file)
    loaded = Plan.load(file)
    assert loaded == plan
    assert hash(loaded) == hash(plan)
    assert loaded.table(1e-3, 0.1) == plan.table(1e-3, 0.1)
    for path in plan:
        assert loaded.explain(path) == plan.explain(path)


def test_a_plan_without_widths(file):
    parameters, shapes = llama(64, 256)
    make_plan(parameters, shapes).save(file)
    assert Plan.load(file).width is None


def test_saving_replaces_in_one_step_and_leaves_nothing_else(file, monkeypatch):
    llama_plan(64, 128).save(file)
    before = file.read_bytes()

    def fail(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="no space left"):
            llama_plan(64, 256).save(file)
    assert file.read_bytes() == before
    assert [entry.name for entry in file.parent.iterdir()] == ["plan.json"]
    llama_plan(64, 256).save(file)
    assert Plan.load(file).width == 256


def changed(file, **changes):
    llama_plan(64, 256).save(file)
    content = json.loads(file.read_text())
    for key, value in changes.items():
        content.pop(key) if value is None else content.update({key: value})
    file.write_text(json.dumps(content))


def test_a_truncated_file(file):
    llama_plan(64, 256).save(file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(PlanError, match=r"plan\.json is damaged: it is not JSON"):
        Plan.load(file)


def test_a_binary_file(file):
    file.write_bytes(b"\x93NUMPY\xff\xfe")
    with pytest.raises(PlanError, match=r"plan\.json is damaged"):
        Plan.load(file)


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": "something else"}', "3"])
def test_another_kind_of_file(file, content):
    file.write_text(content)
    with pytest.raises(PlanError, match=r"plan\.json is not a plan that Plan\.save wrote"):
        Plan.load(file)


def test_a_newer_version(file):
    changed(file, version=4)
    with pytest.raises(
        PlanError, match=r"plan\.json has version 4, this mupwd reads version 3; upgrade mupwd"
    ):
        Plan.load(file)


@pytest.mark.parametrize("key", ["recipe", "parameters", "shape_hash", "beta_ratio"])
def test_a_missing_part(file, key):
    changed(file, **{key: None})
    with pytest.raises(PlanError, match=rf"plan\.json is damaged: {key} is missing"):
        Plan.load(file)


@pytest.mark.parametrize("parameters", [[{}], [{"parameter": {}}], ["x"], 3])
def test_damaged_parameters(file, parameters):
    changed(file, parameters=parameters)
    with pytest.raises(PlanError, match=r"plan\.json is damaged"):
        Plan.load(file)


def test_a_multiplier_that_is_no_number(file):
    llama_plan(64, 256).save(file)
    content = json.loads(file.read_text())
    content["parameters"][3]["lr"] = "0.25"
    file.write_text(json.dumps(content))
    with pytest.raises(PlanError, match=r"parameters\[3\]\.lr: expected a finite number, found '0\.25'"):
        Plan.load(file)


def test_shapes_that_were_edited(file):
    llama_plan(64, 256).save(file)
    content = json.loads(file.read_text())
    content["parameters"][0]["shape"][1] = 512
    file.write_text(json.dumps(content))
    with pytest.raises(PlanError, match=r"plan\.json was changed or damaged: its shapes do not match"):
        Plan.load(file)


def test_no_file(file):
    with pytest.raises(FileNotFoundError):
        Plan.load(file)


def test_the_hash_is_of_the_shapes_alone():
    assert llama_plan(64, 256).shape_hash == llama_plan(64, 256, recipe="mup", form="forward").shape_hash
    assert llama_plan(64, 256).shape_hash != llama_plan(64, 128).shape_hash
