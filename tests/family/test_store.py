"""Families as files: what comes back, and what a damaged file says."""

import json

import jax.numpy as jnp
import pytest
from helpers.networks import NETWORKS, X, pair_network

import mupwd
from mupwd.plan import PlanError


@pytest.fixture(scope="module")
def family():
    return mupwd.family(pair_network, base=32, inputs=(X,))


@pytest.fixture
def file(tmp_path, family):
    family.save(tmp_path / "family.json")
    return tmp_path / "family.json"


def changed(file, **fields):
    content = json.loads(file.read_text()) | fields
    file.write_text(json.dumps(content))


def refused(file, message):
    with pytest.raises(mupwd.TraceError, match=message) as caught:
        mupwd.Family.load(file)
    assert str(caught.value).startswith(str(file))
    return str(caught.value)


def test_what_was_saved_comes_back_and_plans_for_parameters(family, file):
    loaded = mupwd.Family.load(str(file))
    assert loaded == family
    assert list(loaded.parameters) == list(family.parameters)
    assert loaded.plan(pair_network(128)[1]) == family.plan(128)
    assert loaded.plan(pair_network(128)[1]).explain("hidden/w") == family.plan(128).explain("hidden/w")


@pytest.mark.parametrize("framework", sorted(set(NETWORKS) - {"pair"}))
def test_families_of_every_framework(framework, tmp_path):
    network = NETWORKS[framework]
    family = mupwd.family(network.build, base=32, inputs=(X,), call=network.call)
    family.save(tmp_path / "family.json")
    assert mupwd.Family.load(tmp_path / "family.json") == family


def test_a_loaded_family_builds_nothing(file):
    loaded = mupwd.Family.load(file)
    with pytest.raises(
        mupwd.TraceError, match=r"plan\(128\): this family was loaded .* family\.plan\(params\)"
    ):
        loaded.plan(128)
    with pytest.raises(mupwd.TraceError, match="init: this family was loaded"):
        loaded.init(128)
    params = pair_network(128)[1]
    params["hidden"]["w"] = jnp.ones(128)
    with pytest.raises(PlanError, match="hidden/w has 2 axes"):
        loaded.plan(params)


def test_the_file_is_plain_json_for_people(file):
    content = json.loads(file.read_text())
    assert content["format"] == "mupwd family"
    assert {p["path"]: p["role"] for p in content["parameters"]}["hidden/w"] == "matrix"


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        mupwd.Family.load(tmp_path / "none.json")


def test_a_folder_that_does_not_exist(family, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing/family\.json"):
        family.save(tmp_path / "missing" / "family.json")


@pytest.mark.parametrize("content", [b"", b'{"format": "mupwd fam', b"\x80\x04\x95pickle", b"not json"])
def test_a_file_that_is_cut_or_not_json(file, content):
    file.write_bytes(content)
    message = refused(file, "is damaged: it is not JSON")
    assert message.endswith("make the family again and save it")


@pytest.mark.parametrize("content", ["[]", "3", '{"format": "mupwd plan", "version": 1}'])
def test_a_file_of_something_else(file, content):
    file.write_text(content)
    refused(file, "is not a family that Family.save wrote")


def test_a_file_of_a_newer_version(file):
    changed(file, version=2)
    refused(file, "has version 2, this mupwd reads version 1; upgrade mupwd")


@pytest.mark.parametrize("field", ["parameters", "base", "delta", "shape_hash", "logits"])
def test_a_missing_field(file, field):
    content = json.loads(file.read_text())
    del content[field]
    file.write_text(json.dumps(content))
    refused(file, f"is damaged: {field} is missing")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("role", "matirx"),
        ("axes", ["elementwise+up"]),
        ("axes", ["in", "out"]),
        ("shape", "32"),
        ("unknown", 1),
        ("path", 3),
    ],
)
def test_a_parameter_that_is_none(file, field, value):
    content = json.loads(file.read_text())
    content["parameters"][0][field] = value
    file.write_text(json.dumps(content))
    refused(file, "is damaged")


def test_shapes_that_were_changed(file):
    content = json.loads(file.read_text())
    content["parameters"][0]["shape"] = [64]
    file.write_text(json.dumps(content))
    refused(file, "was changed or damaged: its shapes do not match their recorded hash")


def test_a_width_that_is_none(file):
    changed(file, base=0)
    refused(file, "is damaged: base: expected a positive integer, found 0")
