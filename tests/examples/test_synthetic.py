"""The synthetic study: its exponents tell one kind of data from another, and a finished run is not trained again."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = [
    "--seeds",
    "1",
    "--steps",
    "128",
    "--timescale",
    "16",
    "--batch_size",
    "32",
    "--widths",
    "16",
    "32",
    "64",
]


def study(*flags: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, "-W", "error", str(EXAMPLES / "synthetic.py"), *flags]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    done = study(*TINY, "--settings", "random", "rank_0", "--out", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nrank_0 ") == 2  # a line per matrix
    return folder


def test_it_measures_and_draws(folder):
    fits = json.loads((folder / "exponents.json").read_text())
    for matrix in ("up", "down"):
        random, low_rank = fits["random"][matrix], fits["rank_0"][matrix]
        assert random["e"][2] < low_rank["e"][1]  # intervals apart
        # Random matrices: σ_top ∝ sqrt(width) and stable rank ∝ width, and what is expected of Gaussian updates.
        assert random["e"][0] == pytest.approx(0.5, abs=0.1)
        assert random["stable_ranks"] == pytest.approx(random["gaussian_stable_ranks"], rel=0.35)
        for fit in (random, low_rank):
            assert fit["frobenius"][0] == pytest.approx(1, abs=0.15)
            # Momentum lasts about as long as this study's decay, which moves both from a half, together.
            assert fit["learning_rate"][0] - fit["weight_decay"][0] == pytest.approx(1, abs=0.15)
    assert (folder / "synthetic.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.fixture
def command(monkeypatch):
    """The script as a module, for what needs no process of its own."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("synthetic")


def test_what_is_measured_is_not_trained_again(folder, command, monkeypatch):
    def never(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(command, "_group", never)
    options = command.parse(["synthetic.py", *TINY, "--settings", "rank_0", "--out", str(folder)])
    groups = command.measure(options, Console(stderr=True))
    fits = json.loads((folder / "exponents.json").read_text())
    assert command.fit(groups, "rank_0", 1) == fits["rank_0"]["down"]
    with pytest.raises(AssertionError, match="trained again"):
        command.measure(command.parse(["synthetic.py", *TINY, "--out", str(folder)]), Console(stderr=True))


def test_runs_of_another_kind_are_refused(folder, command):
    options = command.parse(["synthetic.py", *TINY, "--seeds", "2", "--out", str(folder)])
    with pytest.raises(SystemExit, match=r"holds runs of --seeds 1 --steps 128 .* another --out"):
        command.measure(options, Console(stderr=True))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--steps", "100"], "--steps 100 is too short .* 1024 or more"),
        (["--widths", "8", "64"], "--widths 8 64: expected two or more widths above 8"),
        (["--seeds", "0"], "'0' is not a whole number above 0"),
        (["--settings", "nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_what_cannot_be_is_refused(command, capsys, flags, words):
    with pytest.raises(SystemExit):
        command.parse(["synthetic.py", *flags])
    assert re.search(words, capsys.readouterr().err.replace("\n", " "))


def test_it_is_short():
    assert all(len(path.read_text().splitlines()) <= 300 for path in EXAMPLES.glob("synthetic*.py"))
