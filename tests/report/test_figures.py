"""The panels as pictures: nothing of what runs may hold makes one fail, and each shows what its panel does."""

import json
import math
import xml.etree.ElementTree

import numpy as np
import pytest
from helpers.logs import write_sweep

from mupwd.proxy.metrics_log import FILE_NAME, MetricsLog
from mupwd.report.check_figure import coordinates
from mupwd.report.collect import collect
from mupwd.report.curves import Line, Panel, axis_names
from mupwd.report.figure import loss_figure, width_style
from mupwd.report.figures import draw_figures
from mupwd.report.heat_figure import heat_figure
from mupwd.report.payload import payload
from mupwd.report.picture import short

NAME = "a$\\frac$b" + "b" * 10_000


def curves(x, tuned, widths=(32, 64)):
    lines = [Line(width, "decay 0", x, [2.0 + one for one in x], [1] * len(x), None) for width in widths]
    rates = Panel("mupwd", "learning_rate", -6.0, [Line(32, "", [-6.0], [2.0], [1], None)])
    decays = Panel("mupwd", "weight_decay", tuned, lines)
    return loss_figure([rates, decays], (1.9, 2.4), axis_names("coupled"), "title", "", widths)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A sweep one of whose recipes has a name that no picture can hold as it is."""
    directory = tmp_path_factory.mktemp("figures") / "sweep"
    write_sweep(directory, recipes=("stays", NAME), grows=0.5)
    return payload(collect([directory]))


@pytest.fixture(scope="module")
def figures(hostile):
    return dict(draw_figures({**hostile, "recipes": ["stays"]}))


def write_log(directory, rows):
    """A run of one layer that is no kind of several."""
    directory.mkdir()
    with MetricsLog(directory / FILE_NAME) as log:
        for step, row in enumerate(rows):
            log.write(step, {f"spectral/readout/{name}": value for name, value in row.items()}, time=0.0)
    run = {"width": 32, "learning_rate": 2**-5, "weight_decay": 0.25, "seed": 0, "recipe": "mupwd"}
    (directory / "manifest.json").write_text(json.dumps({"schema": 1, "run": run}))
    return dict(draw_figures(payload(collect([directory]))))


def test_a_tuned_decay_of_0_has_no_line_and_is_said():
    tuned, none = (curves([0.0, 1.0], at).axes[1] for at in (-1.0, None))
    assert len(tuned.lines) == len(none.lines) + 1
    assert [text.get_text() for text in none.texts] == ["tuned: 0, off this axis"]


def test_where_only_a_decay_of_0_ran_the_panel_says_so(tmp_path):
    figure = curves([], None)
    figure.savefig(tmp_path / "loss.png")
    assert [text.get_text() for text in figure.axes[1].texts] == ["only 0 ran, which has no logarithm"]


def test_36_widths_look_different():
    styles = [width_style(rank) for rank in range(36)]
    assert len({(style["color"], style["marker"]) for style in styles}) == 36
    drawn = curves([0.0, 1.0], None, tuple(range(32, 39))).axes[1].lines
    assert len({(line.get_color(), line.get_marker()) for line in drawn if line.get_marker() != "x"}) == 7


def test_losses_without_a_unit_get_none():
    assert curves([0.0], None).axes[0].get_ylabel() == "loss"


def test_lines_have_about_twelve_markers_and_theory_is_dashed(figures):
    up = next(axes for axes in figures["sigma-1-stays"].axes if "mlp/up" in axes.get_title())
    *runs, theory = up.lines
    assert (theory.get_linestyle(), theory.get_marker()) == ("--", "None")
    # Two seeds of three widths, twenty observations of each.
    assert [(len(line.get_xdata()), line.get_markevery()) for line in runs] == [(20, (0, 2))] * 2 + [
        (20, (1, 2))
    ] * 2 + [(20, (0, 2))] * 2
    assert {line.get_marker() for line in runs} == {"o", "s", "D"}
    narrow = [line.get_ydata() for line in runs if line.get_marker() == "o"]
    np.testing.assert_allclose(theory.get_ydata(), np.sqrt(narrow[0] * narrow[1]), rtol=2e-3)


def test_values_against_width_lie_on_their_fitted_line(figures):
    up = next(axes for axes in figures["widths-1-stays"].axes if "mlp/up" in axes.get_title())
    assert (up.get_xscale(), up.get_yscale()) == ("log", "log")
    assert "slope +0.50" in up.get_title()
    *values, theory, fitted = up.lines
    assert [line.get_xdata()[0] for line in values] == list(fitted.get_xdata()) == [32, 64, 128]
    for line, y in zip(values, fitted.get_ydata(), strict=True):
        np.testing.assert_allclose(line.get_ydata(), y, rtol=0.01)
    assert len(set(theory.get_ydata())) == 1


def test_a_map_says_what_diverged_and_frames_the_tuned_and_the_best_pair():
    losses = [[2.0, None, "x"], [2.5, 1.5, "s"]]
    one = {"width": 32, "rates": [0.25, 0.5, 1.0], "decays": [0.0, 0.5], "losses": losses}
    one |= {"tuned": [0.25, 0.0], "best": [0.5, 0.5]}
    names = {"learning_rate": "learning rate", "weight_decay": "weight decay"}
    axes = heat_figure([one], 0.5, names, "nats/token", "a$b").axes[0]
    assert [text.get_text() for text in axes.texts] == ["2.00", "×", "2.50", "1.50", "·"]
    frames = [(one.get_linestyle(), *(np.array(one.get_xy()) + one.get_width() / 2)) for one in axes.patches]
    assert frames == [("--", 0.0, 0.0), ("-", 1.0, 1.0)]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0", "$2^{-1}$"]


def test_what_is_not_finite_or_not_positive_is_said_and_stops_no_picture(tmp_path):
    figures = write_log(tmp_path / "nan", [{"sigma_1": math.nan, "sigma_2": 0.0, "fro": 0.0}] * 3)
    assert {name.split("-")[0] for name in figures} == {"sigma", "shapes"}
    for name, figure in figures.items():
        figure.savefig(tmp_path / f"{name}.svg")
        assert [text.get_text() for text in figure.axes[0].texts] == ["no finite value above 0"]


def test_large_errors_of_estimates_are_drawn(tmp_path):
    rows = [{"sigma_1": 2.0, "err_1": error} for error in (0.1, math.nan, 5.0)]
    (bars,) = write_log(tmp_path / "run", rows)["sigma-1-mupwd"].axes[0].containers
    (segments,) = (one.get_segments() for one in bars[2])
    np.testing.assert_allclose(segments, [[[0, 1.8], [0, 2.2]], [[2, 0.2], [2, 12.0]]], rtol=2e-3)


def test_a_coordinate_check_is_drawn_as_far_as_it_is_one():
    line = {"path": "a$b", "use": "", "quantity": "change", "predicted": [-0.5, 0.0], "verdict": "fail"}
    good = {**line, "exponent": 0.75, "interval": [0.5, 1.0]}
    odd = [
        None,
        {**line, "predicted": None},
        {**good, "verdict": "?"},
        {**good, "path": "c", "exponent": "1"},
    ]
    figure = coordinates({"group": "g", "found": {"verdict": "fail", "lines": [good, *odd]}})
    assert figure is not None
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a\\$b", "c"]
    assert axes.lines[0].get_xdata() == [0.75]
    assert coordinates({"group": "g", "found": {"lines": odd[:1]}}) is None
    assert coordinates({"group": "g", "found": {"lines": "odd"}}) is None


def test_a_name_that_is_long_and_holds_dollars_is_drawn_as_text(tmp_path, hostile):
    assert short(NAME[:9]) == "a\\$\\frac\\$b"
    for name, figure in draw_figures({**hostile, "recipes": [NAME]}):
        assert len(name) < 60
        file = tmp_path / f"{name}.svg"
        figure.savefig(file)
        assert xml.etree.ElementTree.parse(file).getroot().tag.endswith("svg")
        assert "b" * 100 not in file.read_text(encoding="utf-8")
