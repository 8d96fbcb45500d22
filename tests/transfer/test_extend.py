"""Edges of grids: which values to run next, and that running them ends at an optimum inside the grid."""

import math

import pytest
from helpers.synthetic import observation

from mupwd.transfer import Observation, extensions, scorecard

RATES, DECAYS = [2.0**k for k in range(-9, -4)], [2.0**k for k in (-6, -4, -2, 0)]


def bowl(at, widths=(32, 64), rates=RATES, decays=DECAYS, recipe="sp"):
    return [
        Observation(
            recipe, width, rate, decay, 0, (math.log2(rate) - at[0]) ** 2 + (math.log2(decay) - at[1]) ** 2
        )
        for width in widths
        for rate in rates
        for decay in decays
    ]


def test_an_optimum_inside_needs_nothing():
    assert extensions(bowl((-7, -3))) == {}


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ((-12, -3), {"learning_rate": (2.0**-10,)}),
        ((0, -3), {"learning_rate": (2.0**-4,)}),
        ((-7, 3), {"weight_decay": (4.0,)}),
        ((-12, -9), {"learning_rate": (2.0**-10,), "weight_decay": (2.0**-8,)}),
    ],
)
def test_the_grid_goes_on_with_its_own_spacing(at, expected):
    assert extensions(bowl(at)) == {"sp": expected}


def test_several_steps():
    assert extensions(bowl((-12, -3)), steps=2) == {"sp": {"learning_rate": (2.0**-11, 2.0**-10)}}
    with pytest.raises(ValueError, match="steps must be 1 or more, got 0"):
        extensions(bowl((-12, -3)), steps=0)


def test_only_the_recipe_and_the_side_that_need_it():
    trials = bowl((-7, -3)) + bowl((0, -3), recipe="mup")
    assert list(extensions(trials)) == ["mup"]
    both = bowl((-12, -3), widths=(32,)) + bowl((0, -3), widths=(64,))
    assert extensions(both) == {"sp": {"learning_rate": (2.0**-10, 2.0**-4)}}


@pytest.mark.parametrize(
    ("rates", "at", "expected"),
    [
        ((1e-3, 3e-3, 1e-2), -20, 1e-3 / 10 ** (1 / 2)),  # between factors of 3 and 3.33: their median
        ((2**-9, 2**-8, 2**-7, 2**-6.75, 2**-6.5), 0, 2**-5.875),  # refined at the edge
        ((2**-9, 2**-5, 2**-4, 2**-3), -20, 2**-13),  # coarse at the edge
    ],
)
def test_irregular_grids_neither_creep_nor_leap(rates, at, expected):
    (found,) = extensions(bowl((at, -3), rates=rates))["sp"]["learning_rate"]
    assert found == pytest.approx(expected, rel=0.06)


def test_values_that_another_width_ran_come_first():
    # The narrow width was extended already, the wide one was not.
    trials = bowl((-12, -3), widths=(64,)) + bowl(
        (-10.6, -3), widths=(32,), rates=[2.0**-12, 2.0**-11, *RATES]
    )
    assert extensions(trials) == {"sp": {"learning_rate": (2.0**-11,)}}
    assert extensions(trials, steps=3) == {"sp": {"learning_rate": (2.0**-13, 2.0**-12, 2.0**-11)}}


def test_the_curve_through_the_tuned_pair_counts_too():
    # At the tuned decay the wide width wants the highest learning rate; its best pair lies elsewhere.
    def loss(lr, wd, width):
        return (lr + 7) ** 2 + (wd + 3) ** 2 - 1.6 * (width == 64) * (lr + 7) * (wd + 3)

    trials = [
        Observation("sp", width, 2.0**lr, 2.0**wd, 0, loss(lr, wd, width))
        for width in (32, 64)
        for lr in range(-9, -4)
        for wd in range(-6, 1)
    ]
    assert extensions(trials) == {}
    assert extensions(trials, tuned={"sp": (2.0**-7, 1.0)}) == {"sp": {"learning_rate": (2.0**-4,)}}


def test_a_width_where_everything_diverged_asks_for_lower_learning_rates():
    trials = bowl((-7, -3), widths=(32,)) + [
        Observation("sp", 64, rate, decay, 0, math.nan) for rate in RATES for decay in DECAYS
    ]
    assert extensions(trials) == {"sp": {"learning_rate": (2.0**-10,)}}


def test_one_value_has_no_spacing_and_no_decay_no_logarithm():
    assert extensions(bowl((-7, 3), decays=[1.0])) == {}
    assert extensions([*bowl((-7, -3)), Observation("sp", 32, 2.0**-7, 0.0, 0, -1.0)]) == {}


def test_extending_ends_where_every_optimum_lies_inside():
    def trials(rates, decays):
        return [
            observation("moves", width, rate, decay, seed)
            for width in (32, 64, 128)
            for rate in rates
            for decay in decays
            for seed in (0, 1)
        ]

    rates, decays = [2.0**k for k in range(-6, -3)], [2.0**k for k in range(-1, 2)]
    for _ in range(5):
        more = extensions(trials(rates, decays)).get("moves")
        if more is None:
            break
        rates, decays = [*rates, *more.get("learning_rate", ())], [*decays, *more.get("weight_decay", ())]
    assert extensions(trials(rates, decays)) == {}
    assert min(rates) >= 2.0**-9
    for score in scorecard(trials(rates, decays))["moves"].widths.values():
        assert score.learning_rate.optimum is not None
        assert score.learning_rate.optimum.edge is None
