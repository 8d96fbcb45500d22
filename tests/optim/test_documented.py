"""The page's code and the docstrings' examples run."""

import doctest
import importlib
import re
from pathlib import Path

import jax
import pytest

PAGE = Path(__file__).parents[2] / "docs/optimizer.md"


@pytest.mark.parametrize("module", ["adamw", "clipping", "scaling"])
def test_examples_in_docstrings(module):
    results = doctest.testmod(importlib.import_module(f"mupwd.optim.{module}"))
    assert results.attempted > 0
    assert results.failed == 0


def test_the_page():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 8
    names: dict = {}
    # The frameworks' own layers and optax's schedules count on it.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(block, names)
