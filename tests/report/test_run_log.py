"""What a loop of one's own leaves: whether it is over, and what the run is."""

import math

import jax.numpy as jnp
import pytest

import mupwd
from mupwd.proxy.manifest import read_manifest
from mupwd.proxy.result import read_result
from mupwd.report import RunLog

RUN = {"width": 64, "learning_rate": 2**-6}


def test_a_loop_that_ends_is_over_and_one_that_raises_or_goes_on_is_not(tmp_path):
    def interrupted():
        with RunLog(tmp_path, RUN) as log:
            log(1, {"train/loss": 2.0})
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert read_result(tmp_path) is None
    with RunLog(tmp_path, RUN, resume_from=1) as log:
        log(2, {"train/loss": 1.5, "spectral/w/converged": jnp.bool_(True)})
        log(3, {"train/loss": 1.25})
    assert read_result(tmp_path) == {
        "status": "finished", "step": 3.0, "train/loss": 1.25, "spectral/w/converged": 1.0
    }  # fmt: skip
    log = RunLog(tmp_path, RUN, resume_from=3)
    assert read_result(tmp_path) is None
    log(4, {"train/loss": math.nan})
    log.close()
    assert read_result(tmp_path)["status"] == "diverged"


def test_the_plan_is_written_and_knows_what_the_run_is(tmp_path):
    family = mupwd.family_from_shapes(
        {"w": jnp.zeros((8, 8))}, {"w": jnp.zeros((16, 16))}, axes={"w": "in out"}
    )
    plan = family.plan({"w": jnp.zeros((32, 32))})
    with RunLog(tmp_path / "a", {"width": 32}, plan=plan):
        pass
    assert read_manifest(tmp_path / "a")["run"] == {"width": 32, "recipe": "mupwd"}
    assert mupwd.Plan.load(tmp_path / "a" / "plan.json") == plan
    with pytest.raises(ValueError, match="recipe is 'sp' in run and 'mupwd' in plan: leave these out of run"):
        RunLog(tmp_path / "b", {"recipe": "sp"}, plan=plan)
    assert not (tmp_path / "b").exists()
