"""What the page is given: verdicts in words, slopes, series, and within its budget."""

import json

import numpy as np
import pytest
from helpers.logs import PATHS, WIDTHS, observations, write_run, write_sweep

from mupwd.report.collect import Group, Run, collect
from mupwd.report.logs import Log
from mupwd.report.pack import unpack
from mupwd.report.page import page_of, report_data, report_page
from mupwd.report.payload import payload


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    directory = tmp_path_factory.mktemp("payload") / "sweep"
    write_sweep(directory, grows=0.5)
    return directory


@pytest.fixture(scope="module")
def found(sweep):
    return payload(collect([sweep]))


def test_the_verdict_says_which_recipe_transfers_and_what_to_do(found):
    stays, moves = found["verdicts"]
    assert (stays["label"], stays["mark"], stays["word"]) == ("stays", "good", "transfers")
    assert (moves["label"], moves["mark"], moves["word"]) == ("moves", "bad", "drifts")
    assert any(
        "mupwd plan --base 32 --width 128 --recipe stays --learning_rate 0.03125" in one
        for one in stays["next"]
    )
    assert any("recipe stays transfers here" in one for one in moves["next"])
    assert found["comparison"][0]["mark"] == "good"
    assert found["title"] == "Tuned at width 32, applied at width 128"


def test_slopes_are_judged_and_failing_layers_named_with_the_decay_they_imply(found):
    (stays,) = [one for one in found["slopes"] if one["recipe"] == "stays"]
    up = next(line for line in stays["lines"] if line["name"] == "layers/*/mlp/up/kernel")
    assert up["slope"] == pytest.approx(0.5, abs=0.01)
    assert (up["mark"], up["verdict"]) == ("bad", "fail")
    assert up["implied"] == pytest.approx(1.5, abs=0.02)
    gain = next(line for line in stays["lines"] if line["quantity"] == "gain")
    assert gain["mark"] == "good"
    assert any(
        "layers/*/mlp/up/kernel: its top singular value goes as m^+0.50" in one
        for one in found["verdicts"][0]["next"]
    )


def test_layers_of_a_kind_have_a_mean_and_their_own_series(found):
    up = next(one for one in found["spectra"]["layers"] if one["name"] == "layers/*/mlp/up/kernel")
    assert up["members"] == ["layers/0/mlp/up/kernel", "layers/1/mlp/up/kernel"]
    for name in (up["name"], *up["members"]):
        assert len(found["spectra"]["traces"][name]["sigma_1"]) == 2 * len(WIDTHS) * 2
    number = found["spectra"]["traces"][up["name"]]["sigma_1"][0][0]
    assert found["spectra"]["factors"][str(number)][up["name"]] == pytest.approx(0.5)
    assert all(entry[4] is not None for entry in found["spectra"]["shapes"][PATHS[0]])


def test_the_size_of_weights_and_the_decay_timescale_follow_where_the_log_lacks_them(tmp_path):
    write_run(tmp_path / "run", 64)
    (group,) = collect([tmp_path / "run"])
    (run,) = group.runs
    run.log.series["train/learning_rate"] = (np.array([0, 10]), np.array([0.0, 2**-5]))
    for path in PATHS:
        del run.log.series[f"update/{path}/weight_rms"]
    found = payload([group])
    numbers = unpack(found["numbers"])

    def last(quantity):
        ((_, _, (start, count)),) = found["spectra"]["traces"][PATHS[0]][quantity]
        return numbers[start + count - 1]

    fro = run.log.series[f"spectral/{PATHS[0]}/fro"][1][-1]
    assert last("weight_rms") == pytest.approx(fro / (64 * 256) ** 0.5, rel=1e-3)
    plan = run.plan[PATHS[0]]
    assert last("decay_timescale") == pytest.approx(1 / (2**-5 * plan.lr * 0.25 * plan.wd), rel=1e-3)


def test_two_directories_with_the_same_recipe_are_told_apart(sweep):
    labels = payload(collect([sweep, sweep]))["recipes"]
    assert labels == ["stays in sweep", "moves in sweep", "stays in sweep (2)", "moves in sweep (2)"]


def test_the_data_alone_are_those_of_the_page(sweep):
    data = json.loads(report_data([sweep]))
    assert data["verdicts"][0]["word"] == "transfers"
    assert "<script" in report_page([sweep])


def grid(widths, matrices, steps, every):
    """A group of runs with a log in memory."""
    names = tuple(f"layers/{i}/w/kernel" for i in range(matrices))
    runs = []
    rng = np.random.default_rng(0)
    for number, width in enumerate(widths):
        at = np.arange(every, steps + 1, every)
        series = {"train/loss": (np.arange(1, steps + 1), rng.normal(3, 0.01, steps))}
        for name, value in observations(1, width, paths=names).items():
            series[name] = (at, value * np.exp(np.cumsum(rng.normal(0, 0.01, len(at)))))
        runs.append(Run(f"run{number}", "mupwd", width, 0.01, 0.1, status="finished", log=Log(series)))
    return [Group("runs", runs)]


def test_six_widths_with_twenty_matrices_are_within_their_budget():
    page = page_of(payload(grid((32, 64, 128, 256, 512, 1024), 20, 500, 1)))
    assert len(page.encode()) <= 2_500_000


def test_fifty_runs_with_two_hundred_matrices_are_within_their_budget():
    page = page_of(payload(grid([32 * (1 + i % 6) for i in range(50)], 200, 500, 10)))
    assert len(page.encode()) <= 15_000_000


def test_a_long_log_is_thinned(tmp_path):
    write_run(tmp_path / "run", 32)
    (group,) = collect([tmp_path / "run"])
    steps = np.arange(1, 500_001)
    group.runs[0].log.series["train/loss"] = (steps, np.sin(steps / 100.0))
    found = payload([group])
    (curve,) = found["curves"]
    assert 1000 <= curve[2][1] <= 2000
