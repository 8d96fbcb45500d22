"""`mupwd sweep` with `--halving` and `--optuna`: real trials, and what the command says of them."""

import json
import os
import re
import sqlite3
import subprocess
import sys

import pytest

from mupwd.commands.main import main

MODULE = """
import math

def train(width, hyperparameters, seed, directory):
    lr, wd = hyperparameters["learning_rate"], hyperparameters["weight_decay"]
    step = hyperparameters.get("stop_at", hyperparameters["steps"])
    x, y = math.log2(lr) + 6.2, math.log2(wd) + 1.1
    noise = 0.002 * math.sin(1e6 * lr + 1e3 * wd + 77 * seed + width)
    return {"eval/loss": 3.0 - step / 50 + 0.1 * x**2 + 0.05 * y**2 + noise, "step": step}

def deaf(width, hyperparameters, seed, directory):
    return {"eval/loss": 1.0, "step": hyperparameters["steps"]}
"""
GRID = ["--learning_rates", "2^-9:2^-3", "--weight_decays", "2^-3:2^1", "--recipes", "mupwd", "--seeds", "2"]
OWN = ["--widths", "32,64", "--steps", "50", "--processes", "1", *GRID]


@pytest.fixture
def here(tmp_path, monkeypatch):
    # A name of its own: modules stay imported.
    name = f"searched_{os.path.basename(tmp_path)}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def table(directory, query):
    base = sqlite3.connect(os.path.join(directory, "trials.sqlite"))
    rows = base.execute(query).fetchall()
    base.close()
    return rows


def test_the_proxy_is_halved_and_judged(tmp_path):
    (tmp_path / "text.txt").write_text(
        "".join(f"line {i} of a text that is long enough\n" for i in range(400))
    )
    given = [
        *(
            "--widths",
            "16,32",
            "--steps",
            "30",
            "--learning_rates",
            "2^-9:2^-3",
            "--weight_decays",
            "0.25,1,4",
        ),
        *("--recipes", "mupwd", "--seeds", "2", "--set", "layers=1", "--set", "batch_size=2"),
        *("--set", "sequence_length=16", "--set", "corpus=text.txt", "--halving", "3", "--processes", "1"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mupwd.commands.main", "sweep", "out", *given],
        cwd=tmp_path,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "all but the best 1/3 stopped at step 10, 30 steps each" in done.stdout
    assert "tuned at width 16" in done.stdout
    assert re.search(r"trials have results \(\d+ diverged, 42 stopped early\), 0 failed", done.stdout)
    rows = table(tmp_path / "out", "SELECT status, stop_at, step, count(*) FROM trials GROUP BY 1, 2, 3")
    assert rows[1] == ("stopped", 10, 10, 2 * 7 * 3)
    assert rows[0][:3] == ("finished", None, 30)
    assert rows[0][3] < 2 * 7 * 3 * 2
    assert "some trials were stopped early" in done.stdout
    for result in (tmp_path / "out").glob("trials/*.json"):
        last = json.loads((result.with_suffix("") / "metrics.jsonl").read_text().splitlines()[-1])
        assert last["eval/loss"] == json.loads(result.read_text())["metrics"]["eval/loss"]
        assert last["step"] == (10 if "stop_at" in json.loads(result.read_text())["hyperparameters"] else 30)


def test_a_model_of_ones_own_is_halved(here, capsys):
    given = ["sweep", "own", "--train", f"{here}:train", *OWN, "--halving", "3"]
    assert main([*given, "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"^[0-9a-f]{20}  mupwd, width .* stopped at step 6$", out, re.M)) == 70
    assert re.search(r"70 of 70 trials to run now, and about \d+ more that their losses will choose", out)
    assert main(given) == 0
    out = capsys.readouterr().out
    assert "best learning rate stays" in out
    assert main(["sweep", "own", "--status"]) == 0
    out = capsys.readouterr().out
    assert re.match(r"\d+ trials: \d+ finished, 0 diverged, 0 failed, 0 running, 0 waiting\n", out)
    assert main(["sweep", "own", "--dry_run", "--processes", "1"]) == 0
    assert re.search(r"\n0 of \d+ trials to run, 1 at a time", capsys.readouterr().out)
    # The rest of the grid, on the same trials.
    whole = table("own", "SELECT count(*) FROM trials WHERE stop_at IS NULL")[0][0]
    assert main(["sweep", "own", "--halving", "0", "--dry_run"]) == 0
    assert f"{140 - whole} of 140 trials to run" in capsys.readouterr().out


def test_a_halved_grid_is_extended(here, capsys):
    given = [
        "sweep",
        "edge",
        "--train",
        f"{here}:train",
        *OWN,
        "--halving",
        "3",
        "--learning_rates",
        "2^-9:2^-7",
    ]
    assert main(given) == 0
    assert "mupwd sweep edge --extend goes beyond it" in capsys.readouterr().out
    assert main(["sweep", "edge", "--extend", "--processes", "1"]) == 0
    out = capsys.readouterr().out
    assert "best learning rate stays" in out
    assert "--extend goes" not in out


def test_a_train_function_that_goes_on_is_named(here, capsys):
    assert main(["sweep", "deaf", "--train", f"{here}:deaf", *OWN, "--halving", "3", "--retries", "0"]) == 1
    captured = capsys.readouterr()
    assert "a train function must end, and evaluate, at hyperparameters['stop_at']" in captured.err
    assert "no verdict" in captured.out


def test_optuna_chooses(here, capsys):
    given = ["sweep", "chosen", "--train", f"{here}:train", *OWN, "--optuna", "12"]
    assert main([*given, "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"16 of 16 trials to run now, and about \d+ more that their losses will choose", out)
    assert main(given) == 0
    captured = capsys.readouterr()
    assert "12 pairs that Optuna chooses, learning rates 0.00195312 to 0.125" in captured.out
    assert "best learning rate stays" in captured.out
    assert "these trials were chosen by their losses" in captured.out
    assert "A new study" not in captured.err
    trials = table("chosen", "SELECT count(*) FROM trials")[0][0]
    assert trials < 100
    # The directory knows how it is searched; nothing runs again.
    assert main(["sweep", "chosen", "--processes", "1"]) == 0
    assert f"{trials} trials have results" in capsys.readouterr().out
    assert main(["sweep", "chosen", "--extend"]) == 2
    assert "give wider --learning_rates or --weight_decays" in capsys.readouterr().err
    assert main(["sweep", "chosen", "--halving", "3", "--dry_run"]) == 0
    assert "stopped at step 6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--halving", "1"), "halving must be a whole number of at least 2, got 1"),
        (("--optuna", "-3"), "optuna must be a whole number of at least 1, got -3"),
        (("--optuna", "9", "--halving", "3"), "give either halving or optuna"),
        (("--halving", "3", "--set", "warmup=300"), "give a smaller factor or a shorter warmup"),
        (("--optuna", "9", "--extend"), "--extend widens a grid"),
        (("--set", "stop_at=3"), "may not hold 'stop_at'"),
    ],
)
def test_what_cannot_be_searched_is_said_before_anything_runs(tmp_path, capsys, arguments, message):
    assert main(["sweep", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_optuna_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["sweep", str(tmp_path / "out"), "--optuna", "9"]) == 2
    assert "pip install 'mupwd[optuna]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
