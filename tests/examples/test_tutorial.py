"""What docs/tutorial.md shows is what its files say and do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tutorial():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        import tutorial

        yield tutorial
        del sys.modules["tutorial"]


def test_the_code_is_that_of_the_files():
    files = "\n".join(file.read_text() for file in (ROOT / "examples").glob("tutorial*.py"))
    blocks = re.findall(r"```python\n(.*?)\n```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    assert all(block in files for block in blocks)


def test_the_plan_is_the_one_that_is_shown(tutorial):
    assert f"```\n{tutorial.family.plan(512)}\n```" in PAGE


def test_it_trains_under_both_recipes(tutorial, tmp_path):
    given = {"learning_rate": 2**-6, "weight_decay": 0.25, "base": 64, "steps": 30}
    untrained = tutorial.train(128, {**given, "recipe": "mupwd", "learning_rate": 0.0}, 0, tmp_path)
    for recipe in ("mupwd", "sp"):
        found = tutorial.train(128, {**given, "recipe": recipe}, 0, tmp_path)
        assert found["step"] == 30
        assert found["eval/loss"] < untrained["eval/loss"] - 1


def test_the_wide_model_prints_both_losses():
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "tutorial_wide.py", "128", "20"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"width 128, held-out loss: mupwd.adamw \d\.\d{3}, optax.adamw \d\.\d{3}\n", done.stdout
    )
