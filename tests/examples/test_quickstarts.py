"""The quickstarts run as they are, stay short, and learn."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICKSTARTS = sorted(EXAMPLES.glob("quickstart_*.py"))


def test_there_is_one_per_framework():
    names = [path.stem.removeprefix("quickstart_") for path in QUICKSTARTS]
    assert names == ["equinox", "linen", "nnx", "plain"]


@pytest.mark.parametrize("path", QUICKSTARTS, ids=lambda path: path.stem)
def test_quickstart(path, tmp_path):
    assert len(path.read_text().splitlines()) <= 40
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, "-W", "error", str(path), "128", "60"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "width 64 → 128" in done.stdout
    losses = [float(loss) for loss in re.findall(r"^step \d+  loss (\S+)$", done.stdout, re.MULTILINE)]
    assert len(losses) == 60
    assert sum(losses[-5:]) < 0.2 * sum(losses[:5])
    assert not list(tmp_path.iterdir())
