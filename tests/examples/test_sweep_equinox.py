"""The example of a sweep over a model of one's own, as its docstring says to run it."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_it_runs_and_is_judged(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mupwd.commands.main", "sweep", str(tmp_path / "out")),
            *("--train", "sweep_equinox:train", "--widths", "16,32", "--steps", "20", "--seeds", "2"),
            *("--learning_rates", "2^-8:2^-4:4", "--weight_decays", "0.25,1,4", "--recipes", "mupwd"),
        ],
        cwd=EXAMPLES,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "36 trials have results (0 diverged), 0 failed" in done.stdout
    assert "tuned at width 16" in done.stdout


def test_it_is_as_short_as_the_docs_say():
    assert len((EXAMPLES / "sweep_equinox.py").read_text().splitlines()) == 56
