"""Files from anywhere: nothing in them is run, nothing is taken on trust, and a refusal names the file."""

import ast
import copy
import json
import math
import re
from pathlib import Path

import jax.numpy as jnp
import pytest

import mupwd
from mupwd.plan import PlanError

PACKAGE = Path(mupwd.__file__).parent
# What runs code, or makes objects, out of bytes or text.
RUNS = {"eval", "exec", "compile", "__import__", "importlib.import_module", "import_module"}
MODULES = {"cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle", "yaml", "code", "runpy", "imp"}
UNPICKLES = {"pickle.load", "pickle.loads", "pickle.Unpickler"}
# Each with its reason; none reads a file.
KNOWN = {
    ("named.py", "importlib.import_module"): "a flag's package.module:name, which its user wrote",
    ("commands/models.py", "importlib.import_module"): "the module of the model that a flag names",
    ("sweep/declare.py", "runpy"): "a sweep that is declared in Python, which its user wrote and named",
    (
        "sweep/run.py",
        "importlib.import_module",
    ): "the module of a sweep's train function, to compare its source",
    ("proxy/__init__.py", "importlib.import_module"): "a table of our own modules",
    ("proxy/hosts.py", "pickle.loads"): "what process 0 of the same job sent",
}


def called(node):
    """`a.b.c` of a call `a.b.c(...)`."""
    parts, at = [], node.func
    while isinstance(at, ast.Attribute):
        parts.append(at.attr)
        at = at.value
    return ".".join(reversed([*parts, at.id if isinstance(at, ast.Name) else ""]))


def offences(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES | {"pickle"}:
            yield node.module
        elif isinstance(node, ast.Call):
            what = called(node)
            # A name that stands in the code was chosen by us.
            fixed = bool(node.args) and isinstance(node.args[0], ast.Constant)
            pickles = [key.value for key in node.keywords if key.arg == "allow_pickle"]
            allowed = any(not (isinstance(one, ast.Constant) and one.value is False) for one in pickles)
            if (what in RUNS and not fixed) or what in UNPICKLES or allowed:
                yield what


def test_nothing_in_the_package_runs_what_it_reads():
    found = {
        (str(file.relative_to(PACKAGE)), what)
        for file in PACKAGE.rglob("*.py")
        for what in offences(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert found == set(KNOWN)


@pytest.mark.parametrize(
    "code",
    [
        "import dill",
        "from pickle import loads",
        "pickle.load(file)",
        "eval(text)",
        "exec(text)",
        "np.load(file, allow_pickle=True)",
        "importlib.import_module(text)",
        "import runpy",
        "__import__(text)",
    ],
)
def test_the_search_finds(code):
    assert list(offences(ast.parse(code)))


def shapes(width):
    return {"w": jnp.ones((width, width)), "gain": jnp.ones(width)}


FAMILY = mupwd.family_from_shapes(shapes(4), shapes(8), axes={"w": "in out", "gain": "elementwise"})
PLAN = FAMILY.plan(shapes(16))
KINDS = {"plan": (PLAN, mupwd.Plan.load, PlanError), "family": (FAMILY, mupwd.Family.load, mupwd.TraceError)}


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    saved, load, error = KINDS[request.param]
    file = tmp_path / f"{request.param}.json"
    saved.save(file)
    return file, load, error


def refused(kind, data, message="is damaged"):
    file, load, error = kind
    file.write_bytes(data)
    with pytest.raises(error, match=message) as caught:
        load(file)
    assert str(file) in str(caught.value)
    assert "again" in str(caught.value)


def test_a_file_that_ends_too_early(kind):
    whole = kind[0].read_bytes()
    # A prime step comes by every kind of place; the last bytes are where a file looks most nearly whole.
    for end in sorted({*range(0, len(whole), 17), *range(len(whole) - 40, len(whole))}):
        refused(kind, whole[:end])


def test_files_that_are_something_else(kind):
    whole = kind[0].read_bytes()
    cases = {
        b"": "is not JSON",
        b"\0" * 64: "is not JSON",
        whole + b"x": "is not JSON",
        whole.decode().encode("utf-16"): "not UTF-8",
        whole.decode().encode("utf-32"): "not UTF-8|not JSON",
        b"[" * 100_000: "nested too deeply",
        b'{"format": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001: "nested too deeply",
        b'{"version": ' + b"9" * 5000 + b"}": "not JSON",
        b'{"format": "x",' + whole[1:]: "the key 'format' is there twice",
        b'{"version": NaN}': "NaN is no number",
        b'{"version": -Infinity}': "-Infinity is no number",
    }
    for data, message in cases.items():
        refused(kind, data, message)


def test_a_byte_order_mark_changes_nothing(kind):
    file, load, _ = kind
    before = load(file)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load(file) == before


def test_a_directory_a_device_and_nothing(kind):
    file, load, _ = kind
    with pytest.raises(IsADirectoryError, match=re.escape(str(file.parent))):
        load(file.parent)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(file.with_name("nowhere"))
    with pytest.raises(OSError, match="a pipe or a device: '/dev/zero'"):
        load("/dev/zero")


def test_versions(kind):
    file, _, _ = kind
    content = json.loads(file.read_bytes())
    for version in (0, 99, True, "3", None, [1], 1e300):
        refused(
            kind,
            json.dumps(content | {"version": version}).encode(),
            r"has version .* upgrade mupwd, or make",
        )


WRONG = (None, True, "x", -1, 1.5, [], {}, [[]], [1, 2], 10**400, 1e400)


def places(value, at=()):
    if at:
        yield at
    for key, one in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(one, (*at, key))


def put(content, place, value):
    content = copy.deepcopy(content)
    at = content
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return content


def same_type(value, wrong):
    """A wrong value that is none at that place: a number for a number, another text for a text."""
    if isinstance(value, bool) or isinstance(wrong, bool):
        return isinstance(value, bool) and isinstance(wrong, bool)
    if isinstance(value, float):
        return isinstance(wrong, int | float) and abs(wrong) < 1e300
    return (
        value == wrong
        or (isinstance(value, str) and isinstance(wrong, str))
        or (value in ([], {}) and wrong == [])
    )


def may_be_none(place):
    return place[-1] in ("wd", "init", "logits", "base", "width", "delta")


def test_a_wrong_type_in_any_field():
    """Whatever loads has the types that it should have; multipliers and ratios are positive."""
    content = json.loads(json.dumps(PLAN.to_json()))
    content["recipe"] = {name: content["recipe"][name] for name in content["recipe"]}
    tried, unnamed = 0, []
    for place in places(content):
        if place[0] == "recipe" and place[1:2] not in (("matrix",), ("residual",), ("logits",), ("name",)):
            continue  # the other roles are like "matrix"
        value = content
        for key in place:
            value = value[key]
        for wrong in WRONG:
            if same_type(value, wrong) or (wrong is None and may_be_none(place)):
                continue
            if place[-1] in ("wd", "init", "logits", "base", "width") and isinstance(wrong, int | float):
                continue  # numbers are allowed there: the next test
            if (wrong in ({}, []) and isinstance(value, dict | list)) or place[-1] == "pieces":
                continue  # every field has a default, or the list may be another
            tried += 1
            message = refusal(put(content, place, wrong))
            if "the JSON " not in message:
                unnamed.append((place, wrong, message))
    assert not unnamed
    assert tried > 300


def refusal(content):
    try:
        mupwd.Plan.from_json(content)
    except PlanError as error:
        return str(error)
    return "loaded"


@pytest.mark.parametrize(
    "name", ["m_in", "m_out", "lr", "eps", "init", "forward", "gradient", "gradient_size"]
)
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan], ids=str)
def test_a_multiplier_that_no_rule_gives(name, value):
    content = json.loads(json.dumps(PLAN.to_json()))
    with pytest.raises(PlanError, match=rf"{name}"):
        mupwd.Plan.from_json(put(content, ("parameters", 1, name), value))


@pytest.mark.parametrize("name", ["depth_ratio", "beta_ratio", "residual_scale", "base", "width"])
def test_a_ratio_or_a_width_below_what_there_is(name):
    content = json.loads(json.dumps(PLAN.to_json()))
    with pytest.raises(PlanError, match=rf"the JSON is damaged: {name}"):
        mupwd.Plan.from_json(content | {name: -1})


def test_two_parameters_of_one_name(tmp_path):
    content = json.loads(json.dumps(PLAN.to_json()))
    content["parameters"].append(content["parameters"][0])
    with pytest.raises(PlanError, match="two parameters of the plan are both named 'gain'"):
        mupwd.Plan.from_json(content)
    FAMILY.save(tmp_path / "family.json")
    content = json.loads((tmp_path / "family.json").read_text())
    content["parameters"].append(content["parameters"][0])
    (tmp_path / "family.json").write_text(json.dumps(content))
    with pytest.raises(
        mupwd.TraceError, match=r"family\.json is damaged: two parameters are both named 'gain'"
    ):
        mupwd.Family.load(tmp_path / "family.json")


def test_an_axis_that_does_something_unheard_of():
    content = json.loads(json.dumps(PLAN.to_json()))
    with pytest.raises(PlanError, match="w has axes of no known kind: sideways"):
        mupwd.Plan.from_json(put(content, ("parameters", 1, "parameter", "axes", 0), "sideways"))


def test_a_message_says_where():
    content = json.loads(json.dumps(PLAN.to_json()))
    with pytest.raises(PlanError, match=r"parameters\[1\]\.shape\[0\]: expected an integer, found '16'"):
        mupwd.Plan.from_json(put(content, ("parameters", 1, "shape", 0), "16"))
    with pytest.raises(PlanError, match=r"recipe\.matrix\.lr\.m_im is no field of Powers"):
        mupwd.Plan.from_json(put(content, ("recipe", "matrix", "lr"), {"m_im": 1.0}))
    with pytest.raises(PlanError, match=r"form: expected one of 'folded', 'forward', found 'fold'"):
        mupwd.Plan.from_json(content | {"form": "fold"})
