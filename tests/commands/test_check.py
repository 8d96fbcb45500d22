"""`mupwd check` as people run it: real processes, kills, exit codes and messages."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mupwd.commands import check as command
from mupwd.commands.main import main

MODULE = """
import json, os, time
import jax, jax.numpy as jnp, numpy as np

inputs = (jnp.ones((5, 4)),)

def build(width, seed):
    def model(params, x):
        return jax.nn.relu(jax.nn.relu(x @ params["up"]) @ params["hidden"]) @ params["readout"]
    shapes = {"up": (4, width), "hidden": (width, width), "readout": (width, 16)}
    keys = dict(zip(shapes, jax.random.split(jax.random.key(seed), 3)))
    return model, {k: jax.random.normal(keys[k], s) * s[0] ** -0.5 for k, s in shapes.items()}

def loss(outputs, targets):
    return jnp.mean((outputs - targets) ** 2)

def batch(seed, step):
    x = jax.random.normal(jax.random.key(0), (64, 4))
    return x, jnp.concatenate([x, -x, x**2, abs(x)], axis=1)

def tied(width, seed):
    def model(params, tokens):
        h = params["embed"][tokens]
        return jax.nn.relu(h @ params["hidden"]) @ params["embed"].T
    keys = jax.random.split(jax.random.key(seed))
    hidden = jax.random.normal(keys[1], (width, width)) * width**-0.5
    return model, {"embed": jax.random.normal(keys[0], (16, width)), "hidden": hidden}

def tokens(seed, step):
    return jnp.arange(16), jax.nn.one_hot(jnp.arange(16), 16)

def train(width, hyperparameters, seed, directory):
    # A steady state with e = 1, whatever the recipe.
    time.sleep(float(os.environ.get("PAUSE", "0")))
    lr, wd, steps = (hyperparameters[k] for k in ("learning_rate", "weight_decay", "steps"))
    m = width / hyperparameters["base"]
    wd_factor = {"mupwd": m**0.5, "mup": 1.0, "mup_linear": m}[hyperparameters["recipe"]]
    noise = 2 ** (0.01 * np.random.default_rng([width, seed, int(1e6 * lr), int(1e6 * wd)]).normal())
    return {
        "eval/loss": jnp.float32(2.0), "step": steps, "train/decay_elapsed": lr * wd * steps,
        "spectral/hidden/sigma_1": (lr / m / (wd * wd_factor)) ** 0.5 * m * noise,
    }

def silent(width, hyperparameters, seed, directory):
    return {"eval/loss": 2.0, "step": 1, "train/decay_elapsed": 100.0}

number = 7
"""

OWN = ["stranger:build", "--base", "32", "--learning_rate", "0.01", "--widths", "32,64,128"]
LONG = [*OWN, "--weight_decay", "1", "--train", "stranger:train", "--seeds", "2"]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    (folder / "stranger.py").write_text(MODULE)
    return folder


def start(here, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "mupwd.commands.main", "check", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=here,
        env=os.environ | environment,
    )


@pytest.fixture
def check(here, monkeypatch, capfd):
    """Runs a command to its end in this process, which spares it the start of another."""

    def run(*arguments):
        return main(["check", *arguments]), *capfd.readouterr()

    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    yield run
    sys.modules.pop("stranger", None)


def test_a_killed_steady_check_goes_on_and_judges_a_model_of_ones_own(here, check):
    long = ("--steady", "--recipe", "mup_linear", "--processes", "1", "--out", "linear")
    process = start(here, *LONG, *long, PAUSE="0.5")
    deadline = time.monotonic() + 300
    while len(list(here.glob("linear/trials/*.json"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    first = {file: file.stat().st_mtime_ns for file in here.glob("linear/trials/*.json")}
    code, out, err = check(*LONG, *long)
    assert code == 0, err
    assert "verdict: pass" in out
    assert all(file.stat().st_mtime_ns == written for file, written in first.items())
    assert len(list(here.glob("linear/trials/*.json"))) == 6
    result = json.loads((here / "linear/steady.json").read_text())
    assert result["verdict"] == "pass"
    assert result["lines"][0]["name"] == "hidden"
    assert result["lines"][0]["implied_decay"] == pytest.approx(1.0, abs=0.1)
    # What it takes at four times the width, where lr * wd is as at the base.
    assert result["setting"]["steps"] == 310
    assert (here / "linear/steady.png").read_bytes().startswith(b"\x89PNG")


def test_a_wrong_decay_is_told_by_the_exit_code(check):
    code, out, _ = check(*LONG, "--steady", "--recipe", "mup", "--processes", "1", "--out", "constant")
    assert code == 1
    assert "hidden: sigma grows as width^0.5" in out
    assert "a slope of 0 asks for width^1.0" in out


def test_a_short_run_is_undecided_and_says_how_long_it_must_be(check):
    arguments = (*LONG, "--steady", "--steps", "100", "--processes", "1", "--out", "short")
    code, out, _ = check(*arguments)
    assert code == 3
    assert "too short to judge: 0.50 decay timescales at width 128" in out
    assert "steps needed: 300 at width 32, 425 at width 64, 600 at width 128" in out


def test_the_fit_prints_the_decay_and_a_recipe(here, check):
    code, out, err = check(*LONG, "--fit", "--processes", "1", "--out", "fit")
    assert code == 0, err
    result = json.loads((here / "fit/exponent.json").read_text())
    assert result["modules"][0]["e"]["value"] == pytest.approx(1.0, abs=0.05)
    assert result["modules"][0]["theory_holds"]
    assert "mupwd.recipes.fitted({" in out
    assert "'hidden': " in out
    assert (here / "fit/exponent.png").exists()


def test_coordinates_of_a_model_of_ones_own(here, check):
    own = (
        *OWN,
        "--loss",
        "stranger:loss",
        "--batch",
        "stranger:batch",
        "--learning_rate",
        "0.001",
        "--steps",
        "2",
        "--widths",
        "64,128,256",
    )
    code, out, err = check(*own, "--out", "right")
    assert code == 0, out + err
    code, out, _ = check(*own, "--recipe", "sp", "--out", "wrong")
    assert code == 1
    result = json.loads((here / "wrong/coordinates.json").read_text())
    assert "hidden" in result["failed"]
    assert (here / "wrong/coordinates.png").exists()


def test_coordinates_of_a_tied_model_have_another_form(here, check):
    """The folded form is refused with the way out, and the way out is a flag."""
    own = [
        "stranger:tied",
        "--base",
        "32",
        "--inputs",
        "int32[16]",
        "--learning_rate",
        "0.001",
        "--steps",
        "1",
    ]
    own += ["--loss", "stranger:loss", "--batch", "stranger:tokens", "--widths", "32,64,128", "--out", "tied"]
    code, _, err = check(*own)
    assert code == 2
    assert "plan with form='forward'" in err
    code, out, err = check(*own, "--form", "forward")
    assert code in (0, 1), err
    assert "forward form" in out
    assert json.loads((here / "tied/coordinates.json").read_text())["setting"]["form"] == "forward"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--form", "forward"], "--form is for a model of your own"),
        ([*LONG, "--steady", "--form", "forward"], "--form is for the coordinate check; leave it out"),
        (["--widths", "32,64"], "--widths: a slope needs three different widths"),
        (["--widths", "32,many"], "--widths: expected whole numbers"),
        (["--train", "a:b"], "--train is for a model of your own"),
        (["--steady", "--recipe", "mupdw"], "mupwd"),
        (["--steady", "--weight_decay", "0"], "--weight_decay must be a finite number, above 0; got 0"),
        (["--learning_rate", "nan"], "--learning_rate must be a finite number, above 0; got nan"),
        (["--weight_decay=-inf"], "--weight_decay must be a finite number, 0 or more; got -inf"),
        (["--steady", "--batch_size=-1"], "batch_size must be a positive integer, got -1"),
        (["--steady", "--steps", "3"], "observe_every must be at most a quarter of steps=3"),
        (["--steady", "--widths", "32,64,100"], "width must be a positive multiple of head_dim=16"),
        (
            ["--steady", "--head_dim", "24", "--base", "48", "--widths", "48,96,100"],
            "multiple of head_dim=24",
        ),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--layers", "0"], "layers must be"),
        (["--steady", "--layers", "0"], "layers must be"),
        (["--processes", "2"], "--processes is for --steady and --fit"),
        (["stranger:build"], "--loss is needed for the coordinate check of stranger:build"),
        ([*OWN, "--steady"], "--train is needed for --steady and --fit"),
        ([*OWN, "--steady", "--train", "stranger:train"], "--weight_decay is needed for a model of your own"),
        ([*LONG, "--loss", "a:b", "--batch", "a:b"], "--train is not for the coordinate check"),
        ([*LONG, "--steady", "--layers", "3"], "--layers is of the proxy"),
        (
            [*OWN, "--loss", "stranger:number", "--batch", "stranger:batch"],
            "--loss stranger:number is int; expected a function loss(outputs, targets)",
        ),
        ([*LONG[:-4], "--train", "stranger:number", "--steady"], "--train stranger:number is int"),
        (
            [*LONG[:-4], "--train", "stranger:silent", "--steady", "--processes", "1", "--out", "silent"],
            "returned no 'spectral/hidden/sigma_1'",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(here, arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["check", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    sys.modules.pop("stranger", None)


def test_the_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    out = capsys.readouterr().out
    for word in ("--steady", "--fit", "exit code", "train/decay_elapsed", "examples:"):
        assert word in out


@pytest.mark.parametrize(
    ("flags", "directory"),
    [
        ([], "runs/check"),
        (["--recipe", "sp"], "runs/check-sp"),
        (["--steady"], "runs/steady"),
        (["--fit", "--recipe", "fitted({'qkv': 0.8, 'up': 0.5})"], "runs/fit-fitted_qkv_0.8_up_0.5"),
        (["--recipe", "sp", "--out", "here"], "here"),
    ],
)
def test_the_check_of_one_recipe_does_not_take_the_place_of_anothers(flags, directory):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    assert str(command.out_of(parser.parse_args(["check", *flags]))) == directory
