"""Directories of any name: sweeps, reports and plans in them."""

import os
import sys
from pathlib import Path

import pytest

from mupwd import Plan
from mupwd.commands.main import main

# Spaces, other scripts, what shells, URLs, HTML and glob patterns read otherwise, a line's end, the look of a flag.
PLACES = ["with space", "ünï 宽 🌍", "[a]*?{b}", "%41&x=1#y", "<b>'\"$HOME`", "two\nlines", "-dash"]
TRAIN = """
def train(width, hyperparameters, seed, directory):
    with open("ran", "a") as file:
        file.write("x")
    return {"eval/loss": hyperparameters["learning_rate"] + seed / width}
"""


@pytest.mark.parametrize("place", PLACES)
def test_a_sweep_its_report_and_a_plan_in_it(tmp_path, monkeypatch, capsys, place):
    (tmp_path / place).mkdir()
    monkeypatch.chdir(tmp_path / place)
    monkeypatch.setattr(sys, "path", [".", *sys.path])
    Path("instant.py").write_text(TRAIN)
    runs = f"./{place}/runs"
    sweep = ["sweep", runs, "--train", "instant:train", "--widths", "32,64", "--learning_rates", "0.1,0.2"]
    for _ in range(2):  # the second one finds all that it needs
        assert main([*sweep, "--weight_decays", "0.1", "--seeds", "1", "--processes", "1"]) == 0
        assert Path("ran").read_text() == "x" * len(list(Path(runs, "trials").glob("*.json")))
    assert main(["report", runs, "--out", f"./{place}/page.html", "--figures", f"./{place}/pictures"]) == 0
    assert Path(place, "page.html").stat().st_size > 10_000
    saved = f"./{place}/plan.json"
    assert main(["plan", "--preset", "llama", "--base", "64", "--width", "128", "--save", saved]) == 0
    assert Plan.load(saved).recipe == "mupwd"
    assert "Traceback" not in capsys.readouterr().err
    # Nothing went anywhere else.
    assert sorted(os.listdir(tmp_path)) == [place]
    sys.modules.pop("instant", None)
