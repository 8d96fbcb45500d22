"""Ctrl-C and SIGTERM, at moments that are chosen: a line of text, an exit code, and the same command goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mupwd_command
from mupwd.commands import sweep_actions
from mupwd.commands.main import main
from mupwd.sweep.interrupts import interrupt

# Ctrl-C while a module is looked for, in the first lines of the command.
_IMPORTING = """
import os, signal, sys
class Finder:
    def find_spec(self, found, *_):
        if found == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from mupwd_command import main
main()
"""


# A module in Python, and one in C++, whose loader makes an ImportError of it.
@pytest.mark.parametrize("module", ["jax", "jaxlib._jax"])
def test_while_jax_is_imported(module):
    command = [sys.executable, "-c", _IMPORTING, module]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nmupwd: interrupted\n")


# Ignored: in what a script starts with & after it.
@pytest.mark.parametrize("given", [signal.SIG_IGN, signal.default_int_handler])
def test_where_ctrl_c_is_ignored_it_stays_so(monkeypatch, capsys, given):
    monkeypatch.setattr(sys, "argv", ["mupwd", "plan", "--base", "32", "--width", "64"])
    before = signal.signal(signal.SIGINT, given)
    try:
        assert mupwd_command.main() == 2
        assert signal.getsignal(signal.SIGINT) is (given if given is signal.SIG_IGN else interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "give either a model" in capsys.readouterr().err


MODULE = """
import jax, math, os, signal

def now(moment, hyperparameters, seed):
    # Once, in the second trial that the sweep runs.
    if hyperparameters["moment"] == moment and seed == 1 and os.path.exists(hyperparameters["armed"]):
        os.remove(hyperparameters["armed"])
        signal.raise_signal(hyperparameters["signal"])

def train(width, hyperparameters, seed, directory):
    with open(hyperparameters["log"], "a") as log:
        log.write(f"{seed}\\n")
    now("running", hyperparameters, seed)
    def double(x):
        now("compiling", hyperparameters, seed)
        return 2 * x
    value = float(jax.jit(double)(0.5))
    def called(x):
        now("computing", hyperparameters, seed)
        return x
    jax.pure_callback(called, jax.ShapeDtypeStruct((), "float32"), jax.numpy.float32(1)).block_until_ready()
    return {"eval/loss": value + seed}
"""
TRIALS = 4


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A command that a signal hits, and how often each of its trials ran."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "hit.py").write_text(MODULE)
    (tmp_path / "armed").touch()

    def command(*more, moment="", number=signal.SIGINT):
        given = {
            "log": tmp_path / "log",
            "armed": tmp_path / "armed",
            "moment": moment,
            "signal": int(number),
        }
        sets = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
        grid = ["--widths", "32", "--learning_rates", "0.01", "--weight_decays", "0.1", "--recipes", "mupwd"]
        own = ["--train", "hit:train", "--steps", "2", "--seeds", str(TRIALS), "--processes", "1"]
        return main(["sweep", "runs", *grid, *own, *sets, *more])

    yield command
    sys.modules.pop("hit", None)


def results():
    return {path.name: path.stat().st_mtime_ns for path in Path("runs/trials").glob("*.json")}


def check_it_goes_on(sweep, tmp_path, **hit):
    before = results()
    assert sweep(**hit) == 0
    assert len(results()) == TRIALS
    assert before.items() <= results().items()
    ran = (tmp_path / "log").read_text().split()
    assert set(ran) == set(map(str, range(TRIALS)))
    assert len(ran) <= TRIALS + 1
    assert not list(tmp_path.glob("runs/claims/*"))
    assert not list(tmp_path.glob("runs/**/.*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["running", "compiling", "computing"])
def test_in_a_trial(sweep, tmp_path, capsys, moment, number):
    hit = {"moment": moment, "number": number}
    assert sweep(**hit) == 130
    error = capsys.readouterr().err
    assert "mupwd sweep: interrupted; 1 finished trials are in runs, mupwd sweep runs goes on" in error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("runs/claims/*"))
    check_it_goes_on(sweep, tmp_path, **hit)


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_while_a_result_is_written(sweep, tmp_path, capsys, monkeypatch, step):
    done = getattr(os, step)

    def hit(*given):
        if len(results()) == 1 and (tmp_path / "armed").exists():
            (tmp_path / "armed").unlink()
            signal.raise_signal(signal.SIGINT)
        return done(*given)

    monkeypatch.setattr(os, step, hit)
    assert sweep() == 130
    assert "1 finished trials are in runs, mupwd sweep runs goes on" in capsys.readouterr().err
    check_it_goes_on(sweep, tmp_path)


def test_while_the_verdict_is_written(sweep, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sweep_actions, "write_sqlite", lambda *_: signal.raise_signal(signal.SIGINT))
        assert sweep() == 130
    assert f"{TRIALS} finished trials are in runs, mupwd sweep runs goes on" in capsys.readouterr().err
    check_it_goes_on(sweep, tmp_path)
    assert (tmp_path / "runs/trials.sqlite").exists()
