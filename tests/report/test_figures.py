"""The panels as pictures: nothing of what runs may hold makes one fail, and each shows what its panel does."""

import xml.etree.ElementTree

import pytest
from helpers.logs import write_sweep

from mupwd.report.collect import collect
from mupwd.report.curves import Line, Panel, axis_names
from mupwd.report.figure import loss_figure, width_style
from mupwd.report.figures import write_figures
from mupwd.report.payload import payload
from mupwd.report.picture import short

NAMES = ("a$\\frac$b", "b" * 10_000)


def curves(x, tuned, widths=(32, 64)):
    lines = [Line(width, "decay 0", x, [2.0 + one for one in x], [1] * len(x), None) for width in widths]
    rates = Panel("mupwd", "learning_rate", -6.0, [Line(32, "", [-6.0], [2.0], [1], None)])
    decays = Panel("mupwd", "weight_decay", tuned, lines)
    return loss_figure([rates, decays], (1.9, 2.4), axis_names("coupled"), "title", "", widths)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A sweep whose recipes have names that no picture can hold as they are."""
    directory = tmp_path_factory.mktemp("figures") / "sweep"
    write_sweep(directory, recipes=NAMES, grows=0.5, seeds=(0,))
    return payload(collect([directory]))


def test_a_tuned_decay_of_0_has_no_line():
    assert len(curves([0.0, 1.0], -1.0).axes[1].lines) == len(curves([0.0, 1.0], None).axes[1].lines) + 1


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


def test_names_that_are_long_or_hold_dollars_are_drawn_as_text(tmp_path, hostile):
    files = write_figures(tmp_path, hostile)
    assert set(tmp_path.iterdir()) == set(files)
    for file in files:
        if file.suffix == ".svg":
            assert xml.etree.ElementTree.parse(file).getroot().tag.endswith("svg")
            assert "b" * 100 not in file.read_text(encoding="utf-8")
    assert short(NAMES[0]) == "a\\$\\frac\\$b"
    assert len(short(NAMES[1])) <= 60
