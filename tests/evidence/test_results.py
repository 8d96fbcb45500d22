"""The committed form of results holds what the page needs, and nothing is lost on the way."""

import json
import math
from pathlib import Path

import pytest
from presets import PRESETS
from results import read_results, write_results
from spectra import kinds, values

from mupwd.proxy.manifest import open_manifest
from mupwd.sweep.store import Store
from mupwd.sweep.trial import Result, Trial

SPECTRAL = {"sigma_1": 2.0, "sigma_1_last_quarter": 1.5, "stable_rank": 3.0, "err_1": 1e-6}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a sweep that is complete."""
    _sweep(tmp_path / "trials" / "fixed" / "rules")
    return tmp_path


def _sweep(directory: Path, steps: int = 10, **more: float) -> None:
    open_manifest(directory, {"corpus": {"vocab_size": 256}}, {"git_revision": "abc"})
    store = Store(directory, print)
    for width in (32, 64):
        for decay, loss in ((0.25, 1.5), (0.5, math.nan)):
            given = {"recipe": "mupwd", "learning_rate": 2**-6, "weight_decay": decay, "steps": steps}
            metrics = {
                f"spectral/layers/{i}/up/kernel/{k}": v * (i + 1) for i in (0, 1) for k, v in SPECTRAL.items()
            }
            metrics |= {"eval/loss": loss, "status": "diverged" if loss != loss else "finished", "step": 10}
            metrics |= {"gain/layers/0/mlp": 0.5, "train/decay_elapsed": 1.25, **more}
            store.put(Result(Trial(width, given, 0), metrics, 2.0))


def test_what_is_written_is_read(folder):
    out = folder / "out"
    files = write_results(PRESETS["cpu"], folder / "trials", ["fixed/rules"], out)
    assert [file.name for file in files] == ["trials.csv.gz", "about.json"]
    rows, about, measured = read_results(out)
    assert (len(rows), about["preset"], measured) == (4, "cpu", None)
    assert list(about["sweeps"]) == ["fixed/rules"]
    one = next(row for row in rows if row.observation.loss == 1.5)
    assert (one.horizon, one.sweep, one.steps, one.decay_elapsed) == ("fixed", "rules", 10, 1.25)
    # The late mean counts, where there is one; errors of the estimate are left out.
    assert one.late["spectral/layers/0/up/kernel/sigma_1"] == 1.5
    assert one.late["spectral/layers/1/up/kernel/stable_rank"] == 6.0
    assert not any("err_1" in name for name in one.late)
    assert sum(math.isinf(row.observation.loss) for row in rows) == 2
    assert json.loads((out / "about.json").read_text())["machine"] == PRESETS["cpu"].machine


def test_equal_results_are_equal_files(folder):
    first, second = folder / "one", folder / "two"
    for out in (first, second):
        write_results(PRESETS["cpu"], folder / "trials", ["fixed/rules"], out)
    assert (first / "trials.csv.gz").read_bytes() == (second / "trials.csv.gz").read_bytes()


def test_sweeps_that_did_not_run_now_stay(folder):
    out = folder / "out"
    write_results(PRESETS["cpu"], folder / "trials", ["fixed/rules"], out)
    before, *_ = read_results(out)
    later = folder / "another_day"
    _sweep(later / "growing" / "controls", steps=20, **{"gain/layers/0/attention": 0.25})
    _sweep(later / "fixed" / "rules")  # begun, and not among those that are complete
    write_results(PRESETS["cpu"], later, ["growing/controls"], out)
    rows, about, _ = read_results(out)
    assert [row for row in rows if row.horizon == "fixed"] == before
    added = [row for row in rows if row.horizon == "growing"]
    assert [row.steps for row in added] == [20] * 4
    assert added[0].late["gain/layers/0/attention"] == 0.25
    assert list(about["sweeps"]) == ["fixed/rules", "growing/controls"]
    # Run once more, a sweep replaces what was there of it.
    _sweep(folder / "anew" / "fixed" / "rules", steps=30)
    write_results(PRESETS["cpu"], folder / "anew", ["fixed/rules"], out)
    rows, *_ = read_results(out)
    assert {(row.horizon, row.steps) for row in rows} == {("fixed", 30), ("growing", 20)}


def test_a_kind_of_layer_is_the_geometric_mean_of_its_layers(folder):
    write_results(PRESETS["cpu"], folder / "trials", ["fixed/rules"], folder / "out")
    rows, *_ = read_results(folder / "out")
    assert kinds(rows, "sigma_1") == ["layers/*/up/kernel"]
    assert kinds(rows, "gain") == ["layers/*/mlp"]
    found = values(rows, "layers/*/up/kernel", "sigma_1")
    # Trials that diverged have none.
    assert [(one.width, one.value) for one in found] == [
        (32, pytest.approx(4.5**0.5)),
        (64, pytest.approx(4.5**0.5)),
    ]
