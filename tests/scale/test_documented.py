"""The page's code runs, and what it prints is what the page shows."""

import re
from pathlib import Path

import jax
import numpy as np

PAGE = Path(__file__).parents[2] / "docs/scale.md"


def test_the_page(capsys):
    text = PAGE.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 6
    names: dict = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as users have it
        for block in blocks:
            exec(block, names)
    [shown] = re.findall(r"```\n(the saved plan.*?)```", text, re.DOTALL)
    assert capsys.readouterr().out == shown
    # What the blocks are about.
    assert len(names["x"].sharding.device_set) == 8
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(names["restored"]["state"])} == {1}
    jax.tree.map(np.testing.assert_array_equal, names["restored"]["state"]["params"], names["params"])
