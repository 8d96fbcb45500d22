"""`mupwd plan` for presets and for a stranger's module."""

import os
import subprocess
import sys

import pytest

import mupwd
from mupwd.commands.main import main

MODULE = """
import jax
import jax.numpy as jnp

def build(width):
    def model(params, x):
        return jax.nn.relu(jax.nn.relu(x @ params["up"]) @ params["hidden"]) @ params["readout"]
    return model, {
        "up": jnp.ones((3, width)), "hidden": jnp.ones((width, width)), "readout": jnp.ones((width, 2)),
    }

example = (jnp.ones((5, 3)),)
not_inputs = 7

def breaks(width):
    raise KeyError("no such layer")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("stranger", None)


def plan(*arguments):
    return main(["plan", "--base", "64", "--width", "256", *arguments])


@pytest.mark.parametrize("inputs", ["float32[5,3]", "stranger:example"])
def test_a_module_in_the_current_directory(here, capsys, inputs):
    assert plan("stranger:build", "--inputs", inputs, "--learning_rate", "3e-3", "--weight_decay", "0.1") == 0
    out = capsys.readouterr().out
    assert "recipe mupwd, width 64 → 256" in out
    (numbers,) = [
        line.split() for line in out.split("At the base")[1].splitlines() if line.startswith("  hidden")
    ]
    # m = 4: lr / 4, wd * 2; a step decays by 3e-4 at base and half of that at the target.
    assert numbers[1:] == ["0.00075", "0.2", "0.0003", "0.00015", "3,333", "6,667"]


def test_inputs_of_the_module_are_found(here, capsys):
    (here / "stranger.py").write_text(MODULE.replace("example =", "inputs ="))
    assert plan("stranger:build") == 0
    assert "hidden" in capsys.readouterr().out


def test_save_and_explain(here, capsys):
    arguments = ["stranger:build", "--inputs", "float32[5,3]"]
    assert plan(*arguments, "--recipe", "mup", "--save", "plan.json", "--explain", "hidden") == 0
    out = capsys.readouterr().out
    assert "hidden: matrix" in out
    assert "written: plan.json" in out
    saved = mupwd.Plan.load("plan.json")
    assert (saved.recipe, saved["hidden"].lr, saved["hidden"].wd) == ("mup", 0.25, 1.0)


def test_in_a_process_of_its_own(here):
    command = [sys.executable, "-m", "mupwd.commands.main", "plan", "--base", "64", "--width", "256"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*command, "stranger:build", "--inputs", "float32[5,3]"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert "64→256, 64→256" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("preset", "path", "role", "form"),
    [
        ("llama", "layers/0/attention/k/kernel", "matrix", "folded"),
        ("llama_gqa", "layers/0/attention/k/kernel", "matrix", "folded"),
        ("llama_fixed_kv", "layers/0/attention/k/kernel", "narrow", "folded"),
        ("llama_tied", "embedding", "tied", "forward"),
    ],
)
def test_presets(tmp_path, capsys, preset, path, role, form):
    file = tmp_path / "plan.json"
    assert main(["plan", "--preset", preset, "--base", "256", "--width", "4096", "--save", str(file)]) == 0
    saved = mupwd.Plan.load(file)
    assert (saved[path].role, saved.form) == (role, form)
    assert saved["layers/0/mlp/up/kernel"].lr == 1 / 16
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a model as package.module:build or --preset"),
        (["stranger:build", "--preset", "llama"], "give either a model as package.module:build or --preset"),
        (["stranger"], "model 'stranger': expected package.module:name"),
        (["strangr:build"], "model 'strangr:build': no module 'strangr' here"),
        (["stranger:biuld"], "stranger has no 'biuld'; it has build, breaks"),
        (["stranger:not_inputs"], "stranger:not_inputs is int; expected a function build(width)"),
        (["stranger:build"], "what is the model called with? Give shapes, such as --inputs 'int32[2,128]'"),
        (["stranger:build", "--inputs", "float32(5,3)"], "--inputs 'float32(5,3)': expected a shape such as"),
        (["stranger:build", "--inputs", "float33[5,3]"], "no such type as 'float33'"),
        (["stranger:build", "--inputs", "stranger:not_inputs"], "is int; expected a tuple of example inputs"),
        (
            ["stranger:build", "--inputs", "stranger:example", "--inputs", "int32[2]"],
            "either shapes, one per input, or",
        ),
        (
            ["stranger:breaks", "--inputs", "float32[5,3]"],
            "stranger:breaks failed: KeyError: 'no such layer'",
        ),
        (["--preset", "llama", "--inputs", "int32[2]"], "--inputs is for a model of your own"),
        (["--preset", "llama", "--recipe", "mupdw"], "did you mean 'mupwd'"),
        (
            ["--preset", "llama", "--learning_rate", "-1"],
            "learning_rate must be a finite number, 0 or more; got -1.0",
        ),
        (["--preset", "llama", "--save", "nowhere/plan.json"], "nowhere"),
    ],
)
def test_errors_name_what_is_wrong(here, capsys, arguments, message):
    assert plan(*arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("mupwd plan: error: ")
    assert message in error


def test_a_module_that_does_not_import_says_where(here, capsys):
    (here / "stranger.py").write_text("x = undefined_name\n")
    assert plan("stranger:build") == 2
    error = capsys.readouterr().err
    assert "importing stranger failed: NameError: name 'undefined_name' is not defined" in error
    assert "stranger.py:1" in error
    (here / "stranger.py").write_text("import no_such_package\n")
    assert plan("stranger:build") == 2
    assert "stranger needs no_such_package, which is not installed" in capsys.readouterr().err


BROKEN = """
import sys
inputs = ()

def ends(width):
    sys.exit(7)

def fails(width):
    return helper(width)

def helper(width):
    return {}["mine"]

def __getattr__(name):
    raise RuntimeError(f"no {name} today")
"""


@pytest.mark.parametrize(
    ("model", "message", "place"),
    [
        ("broken:ends", "broken:ends failed: SystemExit: 7", "line 6, in ends\n    sys.exit(7)"),
        (
            "broken:fails",
            "broken:fails failed: KeyError: 'mine'",
            "line 9, in fails\n    return helper(width)",
        ),
        ("broken:later", "reading 'later' failed: RuntimeError: no later today", "in __getattr__"),
        (
            "ending:build",
            "ran a script that ends the program (SystemExit: 3",
            "in <module>\n    raise SystemExit(3)",
        ),
        ("wrong:build", "importing wrong failed: SyntaxError: ", ""),
    ],
)
def test_what_the_users_code_raises_keeps_its_traceback(tmp_path, monkeypatch, capsys, model, message, place):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name, text in (("broken", BROKEN), ("ending", "raise SystemExit(3)"), ("wrong", "def f(:\n")):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert main(["plan", "--base", "8", "--width", "16", model]) == 2
    *trace, last = capsys.readouterr().err.splitlines()
    assert last.startswith("mupwd plan: error: ")
    assert message in last
    assert ".py:" in last
    assert place in "\n".join(trace)
    assert "mupwd/" not in "\n".join(trace)  # nothing that they did not write


@pytest.mark.parametrize("model", ["./my/model.py:build", "my/model.py:build", "my.model.py:build"])
def test_a_file_is_not_a_module(capsys, model):
    assert main(["plan", "--base", "8", "--width", "16", model]) == 2
    assert "as in `import my.model`, not its file: my.model:build" in capsys.readouterr().err
