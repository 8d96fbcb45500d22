"""Frameworks × optimizers × layouts, pairwise; docs/compatibility.md is what this run shows."""

import functools
import os
from pathlib import Path

import jax
import numpy as np
import optax.contrib
import pytest
from helpers import compatibility, toys
from helpers.layouts import LAYOUTS

import mupwd
from mupwd.optim.families import families
from mupwd.optim.refused import REFUSED

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
WRITE = "MUPWD_WRITE_PAGES"
FRAMEWORKS = {**toys.FRAMEWORKS, "haliax": toys.haliax}


def factory(name):
    return getattr(optax, name, None) or getattr(optax.contrib, name)


def wrapped(name, plan):
    return mupwd.wrap(factory(name), plan)(learning_rate=0.01)


OPTIMIZERS = {
    "mupwd.adamw": lambda plan: mupwd.adamw(0.01, plan, weight_decay=0.1),
    **{name: functools.partial(wrapped, name) for name in families()},
}
CELLS = compatibility.pairwise(list(FRAMEWORKS), list(OPTIMIZERS))

pytestmark = pytest.mark.filterwarnings("ignore:jax.*is deprecated:DeprecationWarning")  # by haliax
passed: dict[compatibility.Cell, str] = {}


@functools.cache
def expected(optimizer):
    return compatibility.losses(*start("plain"), OPTIMIZERS[optimizer], LAYOUTS["one device"])


def start(framework):
    return compatibility.start(FRAMEWORKS[framework])


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_losses_are_those_of_plain_jax_on_one_device(cell):
    (one, params), layout = start(cell.framework), LAYOUTS[cell.layout]
    try:
        found = compatibility.losses(one, params, OPTIMIZERS[cell.optimizer], layout)
    except Exception as error:
        # On explicit meshes JAX wants to be told how results are cut, and some of optax's do not say it.
        if type(error).__name__ != "ShardingTypeError":
            raise
        with jax.numpy_dtype_promotion("standard"), pytest.raises(type(error)):
            compatibility.losses(one, params, lambda _: factory(cell.optimizer)(0.01), layout)
        passed[cell] = "–"
        return
    assert np.all(np.diff(expected(cell.optimizer)) != 0)
    # As in tests/scale/test_layouts.py: sums in another order.
    np.testing.assert_allclose(found, expected(cell.optimizer), rtol=2e-5)
    passed[cell] = "✓"


def test_the_page_is_what_this_run_shows():
    if len(passed) < len(CELLS):
        pytest.skip("only a part of the cells ran, or one failed")
    text = compatibility.with_tables(PAGE.read_text(), compatibility.tables(passed, REFUSED))
    if os.environ.get(WRITE):
        PAGE.write_text(text)
    assert PAGE.read_text() == text, f"run these tests once more with {WRITE}=1 and commit the page"
