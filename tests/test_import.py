"""What `import mupwd` costs, and what it gives."""

import json
import subprocess
import sys
from importlib.metadata import requires
from importlib.resources import files

import pytest

import mupwd

CORE = ("jax", "optax", "numpy", "absl")
EXTRAS = (
    "datasets",
    "equinox",
    "flax",
    "grain",
    "haiku",
    "hypothesis",
    "jaxtyping",
    "matplotlib",
    "orbax",
    "pandas",
    "plotly",
    "pytest",
    "rich",
    "sqlite3",
    "tensorflow",
    "tokenizers",
    "torch",
)
PUBLIC = [
    "Family",
    "Plan",
    "PlanError",
    "TraceError",
    "adamw",
    "add_plan_decayed_weights",
    "apply_forward",
    "clip_by_global_norm",
    "coordinate_check",
    "family",
    "family_from_shapes",
    "instrument",
    "scale_by_plan_learning_rate",
    "scorecard",
    "spectrum",
    "trace_axes",
    "track_spectrum",
    "wrap",
]


def imported(statement):
    """Top-level packages that a fresh interpreter has after a statement, and the modules of ours."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    modules = json.loads(done.stdout)
    return {name.partition(".")[0] for name in modules}, {n for n in modules if n.startswith("mupwd")}


@pytest.fixture(scope="module")
def after_import():
    return imported("import mupwd")


def test_imports_none_of_the_extras(after_import):
    assert after_import[0] & set(EXTRAS) == set()
    assert set(CORE) & after_import[0] >= {"jax", "optax", "numpy"}


def test_adds_nothing_but_itself_to_jax_and_optax(after_import):
    others, _ = imported("import jax, optax, numpy, absl, difflib, hashlib, json, tempfile, uuid, pathlib")
    ours = after_import[0] - others - set(sys.stdlib_module_names)
    assert ours == {"mupwd"}


def test_leaves_the_heavy_parts_for_those_who_use_them(after_import):
    parts = {name.split(".")[1] for name in after_import[1] if "." in name}
    assert parts & {"proxy", "sweep", "transfer", "report", "commands"} == set()


def test_public_names():
    assert sorted(mupwd.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(mupwd, name).__doc__, name


def test_depends_on_four_packages():
    core = [line for line in requires("mupwd") or [] if "extra ==" not in line]
    assert sorted(line.partition(">")[0] for line in core) == ["absl-py", "jax", "numpy", "optax"]


def test_is_typed():
    assert files("mupwd").joinpath("py.typed").is_file()
