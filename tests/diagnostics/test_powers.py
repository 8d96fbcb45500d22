"""Exponents of planted laws, the coverage of their intervals, and what is refused."""

import math

import numpy as np
import pytest

from mupwd.diagnostics.powers import fit_powers


def planted(seed, widths, seeds, exponent=0.75, noise=0.05, misfit=0.0):
    rng = np.random.default_rng(seed)
    x = np.repeat(np.array(widths, dtype=float), seeds)
    off = np.repeat(misfit * rng.normal(size=len(widths)), seeds)
    return {"width": x}, 3 * x**exponent * 2 ** (off + noise * rng.normal(size=len(x)))


@pytest.mark.parametrize("widths", [(32, 64, 128), (32, 64, 128, 256), (32, 48, 64, 96, 128)])
@pytest.mark.parametrize("misfit", [0.0, 0.025])
def test_intervals_hold_the_planted_exponent_as_often_as_they_say(widths, misfit):
    held = []
    for seed in range(400):
        interval = fit_powers(*planted(seed, widths, 3, misfit=misfit)).exponents["width"].interval
        held.append(interval[0] <= 0.75 <= interval[1])
    assert 0.90 <= np.mean(held) <= 0.99


def test_seeds_do_not_narrow_an_interval_about_a_law_that_does_not_hold():
    x = np.repeat([32.0, 64.0, 128.0, 256.0], 50)
    off = np.repeat([0.3, -0.3, -0.3, 0.3], 50)
    fit = fit_powers({"width": x}, 2 ** (off + 0.01 * np.random.default_rng(0).normal(size=200)))
    assert fit.exponents["width"].half_width > 0.4
    assert fit.seeds_needed("width", 0.1) is None
    assert fit.points_needed("width", 0.1) > 0


def test_exact_laws_of_several_columns_come_out_exactly():
    rng = np.random.default_rng(0)
    columns = {name: 2 ** rng.uniform(-3, 3, 12) for name in ("width", "learning_rate", "weight_decay")}
    y = 7 * columns["width"] ** 0.75 * columns["learning_rate"] ** 0.5 * columns["weight_decay"] ** -0.5
    free = fit_powers(columns, y)
    assert [one.value for one in free.exponents.values()] == pytest.approx([0.75, 0.5, -0.5])
    assert 2**free.constant == pytest.approx(7)
    held = fit_powers(columns, y, known={"learning_rate": 0.5, "weight_decay": -0.5})
    assert list(held.exponents) == ["width"]
    assert held.exponents["width"].value == pytest.approx(0.75)
    wrong = fit_powers(columns, y, known={"learning_rate": 0.0, "weight_decay": -0.5})
    assert wrong.exponents["width"].half_width > 0.1


def test_the_seeds_that_it_asks_for_are_enough():
    goal, enough = 0.05, []
    for seed in range(40):
        fit = fit_powers(*planted(seed, (32, 64, 128), 3, noise=0.1))
        seeds = fit.seeds_needed("width", goal)
        assert seeds is None or seeds > 3
        if fit.misfit == 0:
            again = fit_powers(*planted(seed + 1000, (32, 64, 128), seeds, noise=0.1))
            enough.append(again.exponents["width"].half_width / goal)
    assert 0.6 < np.median(enough) < 1.5


def test_the_points_that_it_asks_for_are_enough():
    enough = []
    for seed in range(40):
        fit = fit_powers(*planted(seed, (32, 64, 128), 2, noise=0.1))
        more = fit.points_needed("width", 0.1)
        widths = 32 * 2.0 ** np.arange(3 + more)
        enough.append(fit_powers(*planted(seed, widths, 2, noise=0.1)).exponents["width"].half_width / 0.1)
    assert 0.3 < np.median(enough) < 1.2


def test_two_points_with_one_seed_have_no_interval():
    one = fit_powers({"width": [32, 64]}, [1.0, 2.0]).exponents["width"]
    assert one.value == pytest.approx(1.0)
    assert one.interval is None
    assert one.half_width == math.inf


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_value_without_a_logarithm_is_refused_with_its_point(bad):
    with pytest.raises(ValueError, match=r"y of point 1 \(width=64, learning_rate=0.5\)"):
        fit_powers({"width": [32, 64], "learning_rate": [0.5, 0.5]}, [1.0, bad])
    with pytest.raises(ValueError, match=r"width of point 0"):
        fit_powers({"width": [bad, 64]}, [1.0, 2.0])


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match="do not tell the exponents of"):
        fit_powers({"width": [32, 64, 128], "learning_rate": [1, 0.5, 0.25]}, [1, 2, 3])
    with pytest.raises(ValueError, match="do not tell the exponents of"):
        fit_powers({"width": [32, 32]}, [1, 2])
    with pytest.raises(ValueError, match="expected 2 values of 'width'"):
        fit_powers({"width": [32]}, [1, 2])
    with pytest.raises(ValueError, match="no column"):
        fit_powers({"width": [32, 64]}, [1, 2], known={"lr": 1})
    with pytest.raises(ValueError, match="nothing is left to fit"):
        fit_powers({"width": [32, 64]}, [1, 2], known={"width": 1})
    with pytest.raises(ValueError, match="level"):
        fit_powers({"width": [32, 64]}, [1, 2], level=95)
    with pytest.raises(ValueError, match="half_width"):
        fit_powers({"width": [32, 64]}, [1, 2]).seeds_needed("width", 0)
