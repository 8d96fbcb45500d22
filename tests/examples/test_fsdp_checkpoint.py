"""A run is saved with its plan, spectra and data, and goes on on other meshes as if nothing had happened."""

import importlib.util
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest

from mupwd.plan import PlanError

EXAMPLE = Path(__file__).parents[2] / "examples" / "fsdp_checkpoint.py"
# Sums in another order, as in tests/scale/test_layouts.py; another batch makes 1e-2.
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("fsdp_checkpoint", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as users have it
        yield module


@pytest.fixture(scope="module")
def run(example, tmp_path_factory):
    """Four steps on 8 × 1, two on 2 × 4, two on one device: the losses of all, and the state at the end."""
    directory, losses, state = tmp_path_factory.mktemp("run"), [], None
    for mesh, steps in (((8, 1), 4), ((2, 4), 6), ((1, 1), 8)):
        more, state = example.train(directory, mesh, steps)
        losses += more
    return directory, losses, state


def test_it_is_a_run_that_was_not_interrupted(example, run, tmp_path):
    losses, state = example.train(tmp_path, (8, 1), 8)
    assert len(losses) == len(run[1]) == 8
    assert min(abs(a / b - 1) for a, b in itertools.pairwise(losses)) > 100 * TOLERANCE
    np.testing.assert_allclose(run[1], losses, rtol=TOLERANCE)
    tracked = state["spectra"], run[2]["spectra"]
    assert [(int(one.step), int(one.observed_at)) for one in tracked] == [(8, 5), (8, 5)]
    for path, one in tracked[0].observations.items():
        np.testing.assert_allclose(one.sigma, tracked[1].observations[path].sigma, rtol=1e-4)
    held = {
        leaf.addressable_shards[0].data.size * 8 / leaf.size
        for leaf in jax.tree.leaves(state["params"])
        if leaf.ndim == 2
    }
    assert held == {1}


def test_the_checkpoint_holds_all_four(run):
    assert {path.name for path in (run[0] / "8").iterdir()} >= {"plan", "state", "data"}


def test_another_rule_does_not_go_on(example, run):
    with pytest.raises(PlanError, match=r"(?s)the saved plan is another one.*\n  recipe: mup, saved mupwd"):
        example.train(run[0], (8, 1), 10, recipe="mup")
