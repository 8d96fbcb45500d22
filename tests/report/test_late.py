"""Runs of a loop of one's own get the slopes that the proxy's runs get, from their logs alone."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.logs import PATHS, WIDTHS, observations, shapes

import mupwd
from mupwd.report import RunLog
from mupwd.report.collect import collect
from mupwd.report.late import late
from mupwd.report.payload import payload

STEPS = 400


def write(directory, width, *, rates=True):
    axes = dict.fromkeys(PATHS, "in out")
    plan = mupwd.family_from_shapes(shapes(32), shapes(64), axes=axes).plan(shapes(width))
    run = {"width": width, "learning_rate": 2**-5, "weight_decay": 2.0, "seed": 0}
    with RunLog(directory, run, plan=plan) as log:
        for step in range(1, STEPS + 1, 20):
            # A linear descent, of which the trapezoid's sum is exact.
            rate = {"train/learning_rate": 2**-5 * (1 - step / STEPS)} if rates else {}
            log(step, {"train/loss": jnp.float32(2.0), **rate, **observations(step, width, grows=0.5)})


def test_means_over_the_last_quarter_and_what_decayed(tmp_path):
    write(tmp_path / "run", 64)
    ((run,),) = [group.runs for group in collect([tmp_path / "run"])]
    found = late(run)
    sigma = [
        observations(step, 64, grows=0.5)[f"spectral/{PATHS[0]}/sigma_1"] for step in range(301, 401, 20)
    ]
    assert found[f"spectral/{PATHS[0]}/sigma_1_last_quarter"] == pytest.approx(np.mean(sigma))
    assert "gain/layers/1/mlp_last_quarter" in found
    # 380.5 is the middle of what 381 steps decay by.
    assert found["train/decay_elapsed"] == pytest.approx(2.0 * 2**-5 * (381 - 381**2 / 800), rel=0.01)


def test_three_widths_have_slopes(tmp_path):
    for width in WIDTHS:
        write(tmp_path / str(width), width)
    found = payload(collect([tmp_path / str(width) for width in WIDTHS]))
    (slopes,) = found["slopes"]
    up = next(line for line in slopes["lines"] if line["name"] == "layers/*/mlp/up/kernel")
    assert (up["slope"], up["verdict"]) == (pytest.approx(0.5, abs=0.01), "fail")
    assert found["verdicts"][0]["word"] == "steady state fails"
    assert {run["status"] for run in found["runs"]} == {"finished"}


def test_without_learning_rates_the_reason_is_given(tmp_path):
    for width in WIDTHS:
        write(tmp_path / str(width), width, rates=False)
    found = payload(collect([tmp_path / str(width) for width in WIDTHS]))
    assert found["slopes"] == []
    assert any("log train/learning_rate" in one for one in found["notes"])


def test_a_run_of_unknown_width_has_no_place_among_slopes(tmp_path):
    for width in WIDTHS:
        write(tmp_path / str(width), width)
    manifest = tmp_path / "32" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"width": 32', '"width": null'))
    found = payload(collect([tmp_path / str(width) for width in WIDTHS]))
    assert found["widths"] == [0, 64, 128]
    assert found["slopes"] == []
