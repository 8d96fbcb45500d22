"""The loop that a report watches runs as it is, and a report of it has what its panels need."""

import json
import os
import subprocess
import sys
from pathlib import Path

from mupwd.report.page import report_data

EXAMPLE = Path(__file__).parents[2] / "examples" / "watched_run.py"


def test_a_report_of_the_loop_has_spectra_updates_and_the_decay(tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, "-W", "error", str(EXAMPLE), "run", "32", "61"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(report_data([tmp_path / "run"]))
    (run,) = found["runs"]
    assert (run["width"], run["recipe"], run["status"], run["step"]) == (32, "mupwd", "finished", 61)
    drawn = found["spectra"]["traces"]["hidden_1"]
    assert {"sigma_1", "update_rms", "angle", "decay_timescale", "stable_rank"} <= drawn.keys()
