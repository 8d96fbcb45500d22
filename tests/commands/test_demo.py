"""`mupwd demo` at a tiny size, in real processes that are killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from mupwd.commands.main import main

SMALL = [
    *("--widths", "16,32", "--layers", "1", "--steps", "12", "--batch_size", "2", "--sequence_length", "16"),
    *("--learning_rates", "2^-9:2^-1:4", "--weight_decays", "2^-4:2^0:4", "--seeds", "2"),
]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"line {i} of a text that is long enough to learn from\n" for i in range(400)))
    return str(path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def start(out, text, cache, *arguments):
    command = [sys.executable, "-m", "mupwd.commands.main", "demo", "--out", str(out), "--corpus", text]
    return subprocess.Popen(
        [*command, *SMALL, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
    )


def wait_for(process, out, count):
    deadline = time.monotonic() + 300
    while len(list((out / "trials").glob("*.json"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def killed_twice(tmp_path_factory, text, cache):
    """A demo that is killed, interrupted, and then finished: its directory, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "demo"
    process = start(out, text, cache, "--processes", "1")
    wait_for(process, out, 5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = start(out, text, cache, "--processes", "1")
    wait_for(process, out, 12)
    process.send_signal(signal.SIGINT)
    interrupted = (process.communicate(timeout=120), process.returncode)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "trials").glob("*.json")}
    process = start(out, text, cache, "--processes", "1")
    printed, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return out, before, interrupted, printed, errors


def test_ctrl_c_says_how_to_go_on(killed_twice):
    (_, errors), code = killed_twice[2]
    assert code == 130
    assert "Traceback" not in errors
    assert re.search(
        r"mupwd demo: interrupted; \d+ finished trials are in .*, the same command goes on", errors
    )


def test_no_finished_trial_ran_again(killed_twice):
    out, before, _, _, _ = killed_twice
    assert len(before) >= 12
    after = {path.name: path.stat().st_mtime_ns for path in (out / "trials").glob("*.json")}
    assert {name: after[name] for name in before} == before
    assert len(after) > len(before)


def test_prints_optima_drift_and_regret(killed_twice):
    _, _, _, printed, errors = killed_twice
    assert "Traceback" not in errors
    for words in (
        "tuned at width 16",
        "decay timescale",
        "best learning rate",
        "best weight decay",
        "at width 32",
    ):
        assert words in printed
    assert printed.count("regret") + printed.count("tuning there would have won") >= 2
    assert "12 steps of 32 tokens" in printed
    assert "mupwd's loss minus sp's is" in printed


def test_writes_results_page_and_picture(killed_twice):
    out = killed_twice[0]
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["recipes"]) == ["mupwd", "sp"]
    assert summary["setting"]["trials"] == len(list((out / "trials").glob("*.json")))
    # One matrix at m = 2: lr / 2 and decay * sqrt(2) under mupwd, untouched under sp.
    assert summary["setting"]["matrix"] == {"mupwd": [0.5, pytest.approx(2**0.5)], "sp": [1.0, 1.0]}
    assert (out / "curves.png").stat().st_size > 10_000
    assert "Tuned at width 16, applied at width 32" in (out / "index.html").read_text()
    for path in (out / "trials").glob("*.json"):
        result = json.loads(path.read_text())
        assert result["id"] == path.stem
        assert result["metrics"]["status"] in ("finished", "diverged")
    assert (
        json.loads((out / "manifest.json").read_text())["run"]["corpus"]["sha256"]
        == summary["setting"]["corpus_sha256"]
    )


def test_another_study_in_the_same_directory_is_refused(killed_twice, text, capsys):
    out = killed_twice[0]
    assert main(["demo", "--out", str(out), "--corpus", text, *SMALL, "--steps", "13"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mupwd demo: error: ")
    assert "steps: 12 in the directory, 13 asked for" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--widths", "32,a"], "--widths: expected whole numbers separated by commas, got '32,a'"),
        (["--widths", "32"], "widths must be 2 or more"),
        (["--widths", ""], "--widths: expected whole numbers separated by commas, got ''"),
        (["--learning_rates="], "--learning_rates: expected LOW:HIGH"),
        (["--widths", "32,40"], "multiple of head_dim=16"),
        (["--recipes", "mupwd,spp"], "no recipe is named 'spp'"),
        (["--learning_rates", "0:1"], "--learning_rates: expected LOW:HIGH"),
        (["--weight_decays", "0,1,2"], "--weight_decays: every value must be above 0"),
        (["--corpus", "no/such/file.txt"], "no/such/file.txt"),
        (["--processes", "0"], "processes must be from 1 to 1,024, got 0"),
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--steps", "-3"], "steps must be a positive integer, got -3"),
        (["--layers", "0"], "layers must be a positive integer, got 0"),
        (["--sequence_length", "0"], "sequence_length must be a positive integer, got 0"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
    ],
)
def test_bad_flags_are_named_before_anything_runs(tmp_path, text, capsys, arguments, message):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--corpus", text, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mupwd demo: error: ")
    assert message in error
    assert not out.exists()
