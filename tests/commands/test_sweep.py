"""`mupwd sweep` in real processes: the proxy and a stranger's model, killed, shared, extended, failing."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from mupwd.commands.main import main

MODULE = """
import math, os, time

def train(width, hyperparameters, seed, directory):
    lr, wd = hyperparameters["learning_rate"], hyperparameters["weight_decay"]
    time.sleep(float(os.environ.get("PAUSE", "0")))
    (directory / "note").write_text("here")
    with open(os.environ.get("LOG", os.devnull), "a") as log:
        log.write(f"{width} {hyperparameters['recipe']} {lr} {wd} {seed}\\n")
    if lr == hyperparameters.get("fails"):
        raise ArithmeticError("no such rate")
    if lr > 2**-3:
        return {"status": "diverged", "eval/loss": math.nan, "step": 3}
    moves = math.log2(width / 32) if hyperparameters["recipe"] == "sp" else 0.0
    x, y = math.log2(lr) + 6.2 + moves, math.log2(wd) + 1.1
    noise = 0.002 * math.sin(1e6 * lr + 1e3 * wd + 77 * seed + width)
    return {"eval/loss": 1.0 + 0.1 * x**2 + 0.05 * y**2 + noise, "step": hyperparameters["steps"]}

number = 7
"""
OWN = ["--train", "stranger:train", "--widths", "32,64,128", "--steps", "50", "--seeds", "2"]
GRID = ["--learning_rates", "2^-9:2^-4", "--weight_decays", "2^-3:2^1"]
PROXY = [
    *("--widths", "16,32", "--steps", "12", "--learning_rates", "2^-8:2^-4:4", "--weight_decays", "0.25,1,4"),
    *("--recipes", "mupwd", "--set", "layers=1", "--set", "batch_size=2", "--set", "sequence_length=16"),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    (folder / "stranger.py").write_text(MODULE)
    (folder / "text.txt").write_text("".join(f"line {i} of a text that is long enough\n" for i in range(400)))
    return folder


def start(here, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "mupwd.commands.main", "sweep", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=here,
        env=os.environ | {"XDG_CACHE_HOME": str(here / "cache")} | environment,
    )


def sweep(here, *arguments, **environment):
    """Runs a command to its end, and its trials in its own process where the arguments say nothing else."""
    if "--processes" not in arguments:
        arguments = (*arguments, "--processes", "1")
    process = start(here, *arguments, **environment)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


@pytest.fixture
def inside(here, monkeypatch, capfd):
    """Runs a command to its end in this process, which spares it the start of another."""

    def run(*arguments):
        code = main(["sweep", *arguments, "--processes", "1"])
        return code, *capfd.readouterr()

    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    return run


@pytest.fixture(scope="module")
def proxy(here):
    return sweep(here, "proxy", *PROXY, "--set", "corpus=text.txt", "--parquet")


def test_the_proxy_is_swept_and_judged(here, proxy):
    code, out, err = proxy
    assert code == 0, err
    assert "36 trials of the proxy on text.txt" in out
    assert "tuned at width 16" in out
    directory = here / "proxy"
    assert len(list(directory.glob("trials/*.json"))) == 36
    assert {path.name for path in directory.iterdir()} >= {
        "index.html", "curves.png", "summary.json", "trials.sqlite", "trials.parquet", "manifest.json", "sweep.json",
    }  # fmt: skip
    for result in directory.glob("trials/*.json"):
        (last,) = [
            json.loads(line) for line in (result.with_suffix("") / "metrics.jsonl").read_text().splitlines()
        ][-1:]
        assert last["eval/loss"] == json.loads(result.read_text())["metrics"]["eval/loss"]


def test_the_same_command_and_the_bare_one_run_nothing_again(here, proxy):
    before = {path: path.stat().st_mtime_ns for path in (here / "proxy").glob("trials/*.json")}
    code, out, _ = sweep(here, "proxy")
    assert code == 0
    assert "36 trials have results" in out
    assert {path: path.stat().st_mtime_ns for path in (here / "proxy").glob("trials/*.json")} == before
    assert (
        "36 trials: 36 finished, 0 diverged, 0 failed, 0 running, 0 waiting"
        in sweep(here, "proxy", "--status")[1]
    )


def test_a_worker_takes_the_declaration_that_started_the_sweep(here, proxy):
    values = dict(zip(PROXY[::2], PROXY[1::2], strict=True))
    rates, decays = values["--learning_rates"], values["--weight_decays"]
    (here / "proxy.toml").write_text(
        f'widths = [16, 32]\nsteps = 12\nlearning_rates = "{rates}"\nweight_decays = [{decays}]\nrecipes = ["mupwd"]\n'
        'seeds = 2\n[hyperparameters]\nlayers = 1\nbatch_size = 2\nsequence_length = 16\ncorpus = "text.txt"\n'
    )
    code, out, err = sweep(here, "proxy", "--config", "proxy.toml", "--worker")
    assert (code, out) == (0, ""), err
    code, _, err = sweep(here, "proxy", "--config", "proxy.toml", "--worker", "--seeds", "3")
    assert code == 2
    assert "holds another grid than the one declared for this worker" in err


def test_another_sweep_does_not_go_into_the_directory(inside, proxy):
    code, _, err = inside("proxy", "--set", "layers=2")
    assert code == 2
    assert "hyperparameters.layers: 1 in the directory, 2 asked for" in err


def test_a_dry_run_lists_trials_and_time_and_leaves_nothing(here, inside):
    code, out, err = inside("dry", *PROXY, "--set", "corpus=text.txt", "--dry_run")
    assert code == 0, err
    assert len(re.findall(r"^[0-9a-f]{20}  mupwd, width", out, re.M)) == 36
    assert re.search(r"36 of 36 trials to run, \d at a time: about \d+:\d\d, without compilation", out)
    assert not (here / "dry").exists()


def test_killed_again_and_again_every_trial_of_ones_own_model_is_recorded_once(here, tmp_path):
    log, out = tmp_path / "log", here / "killed"
    given = ("killed", *OWN, *GRID, "--processes", "2")
    seen = {}
    for wanted in (5, 40, 90):
        process = start(here, *given, LOG=str(log), PAUSE="0.03")
        deadline = time.monotonic() + 300
        while len(list(out.glob("trials/*.json"))) < wanted:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        now = {path.name: path.stat().st_mtime_ns for path in out.glob("trials/*.json")}
        assert seen.items() <= now.items()
        seen = now
    code, text, err = sweep(here, *given, LOG=str(log))
    assert code == 0, err
    assert "its process has ended: it is free again" in err
    now = {path.name: path.stat().st_mtime_ns for path in out.glob("trials/*.json")}
    assert len(now) == 3 * 6 * 5 * 2 * 2
    assert seen.items() <= now.items()
    lines = log.read_text().splitlines()
    assert len(set(lines)) == len(now)
    # Only what ran when it was killed: a trial per process and kill, and one on its way to the disk.
    assert len(lines) - len(set(lines)) <= 3 * 4
    mupwd, sp = text.split("\nsp  tuned")
    assert "best learning rate stays" in mupwd
    assert "best learning rate drifts" in sp
    assert not list((out / "claims").iterdir())


def test_several_commands_share_the_work(here, tmp_path):
    given = ("shared", *OWN, *GRID, "--processes", "1", "--recipes", "mupwd")
    processes = [start(here, *given, LOG=str(tmp_path / "log"), PAUSE="0.05") for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        assert "180 trials have results" in out
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 180


def test_an_optimum_at_the_edge_is_followed(here, inside):
    given = (
        "edge",
        *OWN,
        "--recipes",
        "mupwd",
        "--learning_rates",
        "2^-9:2^-7",
        "--weight_decays",
        "2^-3:2^1",
    )
    code, out, _ = inside(*given)
    assert code == 0
    assert "mupwd sweep edge --extend goes beyond it" in out
    code, out, _ = inside("edge", "--extend")
    assert code == 0
    assert "best learning rate stays" in out
    assert "--extend goes beyond it" not in out
    rates = json.loads((here / "edge/sweep.json").read_text())["learning_rates"]
    assert rates == [2.0**k for k in range(-9, -4)]


def test_a_trial_that_fails_is_named_and_the_rest_is_judged(here, inside):
    given = ("fails", *OWN, *GRID, "--recipes", "mupwd", "--set", f"fails={2**-9}", "--retries", "0")
    code, out, err = inside(*given)
    assert code == 1
    assert "150 trials have results (0 diverged), 30 failed" in out
    assert "failed: mupwd, width 32, learning rate 0.00195312" in err
    assert "ArithmeticError: no such rate (all of it: fails/failed/" in err
    assert "best learning rate stays" in out
    assert "150 finished, 0 diverged, 30 failed" in inside("fails", "--status")[1]
    base = sqlite3.connect(here / "fails" / "trials.sqlite")
    assert base.execute("SELECT count(*), status FROM trials GROUP BY status").fetchall() == [
        (30, "failed"),
        (150, "finished"),
    ]
    base.close()


def test_trials_that_diverge_are_results(inside):
    given = (
        "diverge",
        *OWN,
        "--recipes",
        "mupwd",
        "--learning_rates",
        "2^-8:2^-1",
        "--weight_decays",
        "0.25,0.5,1",
    )
    code, out, err = inside(*given)
    assert code == 0, err
    assert "(36 diverged), 0 failed" in out
    assert "best learning rate stays" in out


def test_where_every_trial_fails_the_errors_are_said(here):
    (here / "broken.py").write_text("def train(*_):\n    raise RuntimeError('bug')\n")
    given = ("broken", *OWN, "--train", "broken:train", "--widths", "32", "--learning_rates", "0.01,0.02")
    code, out, err = sweep(here, *given, "--recipes", "mupwd")
    assert code == 1
    assert "no verdict: no trial has a result" in out
    assert "RuntimeError: bug (all of it:" in err
    assert "mended? mupwd sweep broken --retries 2 tries them again" in err
    (here / "broken.py").write_text("def train(*_):\n    return {'eval/loss': 1.0}\n")
    code, out, err = sweep(here, "broken", "--retries", "2")
    assert code == 0, err


@pytest.mark.slow
def test_several_commands_start_and_end_at_the_same_time(here):
    given = (
        "together",
        *OWN,
        "--recipes",
        "mupwd",
        "--learning_rates",
        "2^-7:2^-5",
        "--weight_decays",
        "0.5",
    )
    processes = [start(here, *given, "--processes", "1") for _ in range(4)]
    for process in processes:
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
    processes = [start(here, "proxy") for _ in range(3)] if (here / "proxy").is_dir() else []
    for process in processes:
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err


def test_flags_replace_a_files_horizon(here, inside):
    (here / "horizon.toml").write_text(
        "steps = 400\nlearning_rates = [0.01]\nweight_decays = [0.1]\nseeds = 1\n"
    )
    given = (*PROXY[:2], *PROXY[-8:], "--set", "corpus=text.txt")
    code, out, err = inside(
        "horizon", "--config", "horizon.toml", "--tokens_per_parameter", "0.1", "--dry_run", *given
    )
    assert code == 0, err
    assert "2 of 2 trials to run" in out


def test_a_sweep_of_one_width_says_the_best_pair_there_and_goes_on_wider(here, inside):
    code, out, err = inside("narrow", *OWN, *GRID, "--widths", "32", "--recipes", "mupwd")
    assert code == 0, err
    assert "mupwd  tuned at width 32: learning rate 2^-6 = 0.0156, weight decay 2^-1 = 0.5" in out
    assert "? width 32 ran alone: this is the best pair there" in out
    assert "mupwd sweep narrow --widths 32,64 runs the same there" in out
    summary = json.loads((here / "narrow" / "summary.json").read_text())
    assert summary["recipes"]["mupwd"]["tuned"] == {"learning_rate": 2**-6, "weight_decay": 0.5}
    assert summary["recipes"]["mupwd"]["missing"]["learning_rate_drift"] == "there is one width alone"
    code, out, err = inside("narrow", "--widths", "32,64")
    assert code == 0, err
    assert "notice: widths: 32, 64 (narrow had 32); results are kept" in err
    assert "✓ best learning rate stays" in out


def test_a_trial_without_a_rival_allows_no_verdict_says_why_and_keeps_its_trials(here, inside):
    code, out, _ = inside("few", *OWN, "--learning_rates", "0.5", "--recipes", "mupwd")
    assert code == 0
    assert "no verdict: best pair: of 3 learning rate and decay pairs" in out
    assert (here / "few" / "trials.sqlite").exists()


def test_one_command_does_not_mean_two_grids_without_a_word(inside):
    """What flags leave out is the directory's, which another command may have narrowed."""
    full = ("twice", *OWN, "--learning_rates", "2^-7,2^-6,2^-5", "--weight_decays", "0.25,0.5,1", "--dry_run")
    run = tuple(one for one in full if one != "--dry_run")
    code, out, err = inside(*run)
    assert (code, "108 trials have results" in out, err.count("notice")) == (0, True, 0), err
    code, out, err = inside(*run)
    assert (code, err.count("notice")) == (0, 0), err
    code, out, err = inside(*run, "--recipes", "mupwd", "--widths", "32,64")
    assert "notice: widths: 32, 64 (twice had 32, 64, 128); results are kept" in err
    assert "notice: recipes: mupwd (twice had mupwd, sp)" in err
    assert "36 trials have results" in out
    code, out, err = inside(*full)
    assert "notice: widths: 32, 64, 128 (twice had 32, 64)" in err
    assert "notice: recipes: mupwd, as twice has it; --recipes changes it (a new sweep has mupwd, sp)" in err
    code, out, err = inside(*run, "--recipes", "mupwd,sp")
    assert "108 trials have results" in out
    assert inside("twice")[2].count("notice") == 0


def test_changed_code_is_reported(here):
    source = here / "changing.py"
    source.write_text(MODULE)
    given = (
        "changed",
        *OWN,
        "--train",
        "changing:train",
        "--learning_rates",
        "2^-7:2^-5",
        "--recipes",
        "mupwd",
    )
    assert sweep(here, *given)[0] == 0
    source.write_text(MODULE + "\n# another thought\n")
    code, _, err = sweep(here, *given, "--seeds", "3")
    assert code == 0
    assert "changing.py has changed since changed was started; finished trials are kept" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--widths", "a"), "--widths: expected whole numbers"),
        (("--recipes", "muwpd"), "did you mean 'mupwd'"),
        (("--set", "layers"), "--set: expected NAME=VALUE"),
        (("--set", "layer=2"), "unknown hyperparameter 'layer'; did you mean 'layers'"),
        (("--widths", "33"), "width must be a positive multiple of head_dim=16, got 33"),
        (("--learning_rates", "0"), "every value must be above 0"),
        (("--dry_run", "--status"), "give only one of --dry_run, --status, --extend and --worker"),
        (("--retries", "-1"), "--retries must be at least 0"),
        (("--workers", "2"), "--workers is of clusters: give --executor slurm or ray as well"),
        (("--executor", "slurm", "--workers", "0"), "--workers must be at least 1, got 0"),
        (("--status",), "holds no sweep"),
        (("--steps", "0"), "steps must be a whole number above 0"),
        (("--steps", "9999999999"), "steps must be at most 2,147,483,647"),
        (("--learning_rates=-2^0.5",), "--learning_rates: expected LOW:HIGH"),
        (("--seeds", "0"), "seeds: expected how many, from 1 to 100,000"),
        (("--processes", "99999"), "processes must be from 1 to 1,024, got 99999"),
        (("--set", "corpus=3"), "corpus: expected 'stdlib', a file, a folder or 'hf:...', got 3"),
        (("--set", "corpus="), "corpus: expected 'stdlib', a file, a folder or 'hf:...', got ''"),
        (("--set", "corpus=/dev/zero"), "can't read '/dev/zero': neither a file nor a link to one"),
        (("--set", "layers=[1]"), "hyperparameter 'layers' must be a number, a string, a boolean or None"),
        (("--set", "batch_size=1000000"), "a batch of 1000000 sequences of 64"),
        (("--tokens_per_parameter", "1e305"), "tokens_per_parameter=1e+305 is too large"),
        (
            ("--train", "json:dumps", "--widths", "8"),
            "expected train(width, hyperparameters, seed, directory)",
        ),
        (("--config", "/nowhere/a.toml"), "--config /nowhere/a.toml: there is no such file"),
        (("--base", "50"), "width must be a positive multiple of head_dim=16, got 50"),
        (("--set", "kv_groups=4"), "kv_groups=4 does not divide"),
        (("--steps", "50", "--set", "warmup=60"), "warmup"),
        (("--tokens_per_parameter", "2", "--set", "batch_size=0"), "batch_size must be a positive integer"),
        (("--steps", "3", "--tokens_per_parameter", "2"), "give either steps or tokens_per_parameter"),
        (("--train", "stranger"), "package.module:name"),
        (("--set", "corpus=nothing.txt"), "nothing.txt"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_runs(tmp_path, capsys, arguments, message):
    assert main(["sweep", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_table_that_cannot_be_written_is_said_before_anything_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as where it is not installed
    assert main(["sweep", str(tmp_path / "out"), "--parquet"]) == 2
    assert "--parquet needs pyarrow: pip install 'mupwd[parquet]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_recipes_may_hold_commas(tmp_path):
    from mupwd.commands.shared import split_names

    assert split_names("mupwd,fitted({'a, b': 0.8, 'c': 1}), sp") == (
        "mupwd",
        "fitted({'a, b': 0.8, 'c': 1})",
        "sp",
    )
