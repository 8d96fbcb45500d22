"""What the page is given: verdicts in words, slopes, series, and within its budget."""

import json

import numpy as np
import pytest
from helpers.logs import PATHS, WIDTHS, observations, write_run, write_sweep

from mupwd.report.collect import collect
from mupwd.report.logs import Log
from mupwd.report.pack import unpack
from mupwd.report.page import page_of, report_data, report_page
from mupwd.report.payload import payload
from mupwd.report.runs import Group, Run


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
    """A group of runs with a log in memory: all that the proxy and `track_spectrum` write of a matrix, and noisy."""
    names = tuple(f"layers/{i}/w/kernel" for i in range(matrices))
    runs = []
    rng = np.random.default_rng(0)
    for number, width in enumerate(widths):
        at = np.arange(every, steps + 1, every)
        values = observations(1, width, paths=names)
        for name in names:
            sigma = values[f"spectral/{name}/sigma_1"]
            values |= {f"spectral/{name}/sigma_{rank}": sigma * 0.8 ** (rank - 1) for rank in range(5, 9)}
            values |= {f"update/{name}/{one}": 0.01 for one in ("update_rms", "effective_learning_rate")}
            values[f"update/{name}/decay_timescale"] = 99.0
        series = {"train/loss": (np.arange(1, steps + 1), rng.normal(3, 0.01, steps))}
        for name, value in values.items():
            value = 0.01 if name.endswith("err_1") else value
            series[name] = (at, value * np.exp(rng.normal(0, 0.3, len(at))))
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


def numbers_of(found, reference):
    start, count = reference
    return unpack(found["numbers"])[start : start + count]


def two_seeds(steps=5000):
    """Three widths of two seeds each, with noise so that each seed is thinned at steps of its own."""
    rng = np.random.default_rng(0)
    at = np.arange(1, steps + 1)
    runs = []
    for width in WIDTHS:
        for seed in (0, 1):
            series = {}
            for name, value in observations(1, width).items():
                noise = np.exp(rng.normal(0, 0.01, steps))
                series[name] = (at, (0.01 if name.endswith("err_1") else value) * noise)
            pair = {"learning_rate": 0.01, "weight_decay": 0.1, "seed": seed}
            runs.append(Run(f"{width}-{seed}", "mupwd", width, **pair, status="finished", log=Log(series)))
    return runs


def test_theory_is_the_mean_of_the_narrowest_widths_seeds_before_thinning():
    runs = two_seeds()
    found = payload([Group("runs", runs)])
    for layer, quantity in (
        (PATHS[0], f"spectral/{PATHS[0]}/sigma_1"),
        ("gain/layers/0/mlp", "gain/layers/0/mlp"),
    ):
        ((recipe, pair, number, steps, values),) = found["spectra"]["theory"][layer.removeprefix("gain/")]
        assert (recipe, pair, number) == ("mupwd", "0.01,0.1", 0)
        steps, values = numbers_of(found, steps).astype(int), numbers_of(found, values)
        # As many points as of any other series, not only those steps that two seeds happen to share.
        assert len(steps) > 0.9 * found["spectra"]["limit"]
        wanted = np.sqrt(runs[0].log.series[quantity][1] * runs[1].log.series[quantity][1])
        np.testing.assert_allclose(values, wanted[steps - 1], rtol=1e-3)
    assert "layers/*/mlp/up/kernel" in found["spectra"]["theory"]


def test_theory_needs_a_width_to_compare_with_and_a_matrix_its_factor():
    runs = two_seeds(60)
    assert payload([Group("runs", runs[:2])])["spectra"]["theory"] == {}
    unknown = [Run(run.name, "mupwd", 0, 0.01, 0.1, status="finished", log=run.log) for run in runs]
    assert payload([Group("runs", unknown)])["spectra"]["theory"] == {}
    for run in runs:
        run.log.series = {k: v for k, v in run.log.series.items() if not k.endswith("rms_operator_norm")}
    # A gain has no units.
    assert set(payload([Group("runs", runs)])["spectra"]["theory"]) == {
        "layers/0/mlp",
        "layers/1/mlp",
        "layers/*/mlp",
    }


def test_every_point_that_is_drawn_has_its_error():
    runs = two_seeds()
    found = payload([Group("runs", runs)])
    traces = found["spectra"]["traces"][PATHS[0]]
    sigmas = {number: steps for number, steps, _ in traces["sigma_1"]}
    assert len(traces["err_1"]) == len(runs)
    for number, steps, values in traces["err_1"]:
        assert steps == sigmas[number]
        at = numbers_of(found, steps).astype(int)
        wanted = runs[number].log.series[f"spectral/{PATHS[0]}/err_1"][1][at - 1]
        np.testing.assert_allclose(numbers_of(found, values), wanted, rtol=1e-3)


def test_hostile_names_and_numbers_in_a_log_are_kept_apart_from_what_is_known(tmp_path):
    write_run(tmp_path / "run", 64)
    (group,) = collect([tmp_path / "run"])
    series, some = group.runs[0].log.series, (np.array([20, 40]), np.array([1.0, 2.0]))
    for name in ("sigma_" + "9" * 5000, "sigma_٣", "sigma_0", "sigma_01"):
        series[f"spectral/{PATHS[0]}/{name}"] = some
    for number in ("1" * 5000, "2", "²"):
        series[f"spectral/layers/{number}/mlp/up/kernel/sigma_1"] = some
    series[f"spectral/{PATHS[1]}/disagreements"] = (np.array([20]), np.array([np.inf]))
    found = payload([group])
    ((_, _, _, count, _),) = found["spectra"]["shapes"][PATHS[0]]
    assert count == 4
    assert found["spectra"]["health"][0]["audits"] == 0
    up = next(one for one in found["spectra"]["layers"] if one["name"] == "layers/*/mlp/up/kernel")
    assert up["members"][:3] == [*PATHS[:2], "layers/2/mlp/up/kernel"]


def test_series_of_other_steps_are_not_taken_together(tmp_path):
    write_run(tmp_path / "run", 64)
    (group,) = collect([tmp_path / "run"])
    series, name = group.runs[0].log.series, f"spectral/{PATHS[0]}/"
    # As many observations as the others have, at other steps.
    steps = series[name + "sigma_1"][0] + 1
    for one in ("rms_operator_norm", "fro", "sigma_2", "sigma_3"):
        series[name + one] = (steps, series[name + one][1])
    series[f"update/{PATHS[0]}/update_rms"] = (steps, np.ones(len(steps)))
    found = payload([group])["spectra"]
    assert PATHS[0] not in found["factors"]["0"]
    assert "effective_learning_rate" not in found["traces"][PATHS[0]]
    ((_, _, _, count, edges),) = found["shapes"][PATHS[0]]
    assert (count, edges) == (2, None)
