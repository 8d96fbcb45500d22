"""Optuna as the one that chooses."""

import itertools
import math
import sys

import pytest
from helpers.searches import RATES, optuna, run

from mupwd.sweep.declare import Sweep
from mupwd.sweep.optuna_study import GENERATION, axis, generation


def told(count, shape=(13, 9), best=(8, 3)):
    found = ()
    while len(found) < count:
        found += tuple((place, math.dist(place, best) ** 2) for place in generation(found, shape))
    return found


def test_the_axis_goes_from_end_to_end_in_half_octaves():
    values = axis(RATES)
    assert len(values) == 2 * (len(RATES) - 1) + 1
    assert set(RATES) <= set(values)
    assert axis((0.3,)) == (0.3,)
    odd = axis((0.001, 0.1))
    assert (odd[0], odd[-1]) == (0.001, 0.1)
    ratios = [after / before for before, after in itertools.pairwise(odd)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert math.log2(ratios[0]) == pytest.approx(0.5, abs=0.03)


def test_a_generation_is_a_function_of_what_was_told():
    before = told(24)
    generation.cache_clear()
    assert told(24) == before


def test_no_place_is_chosen_twice_until_all_were():
    places = [place for place, _ in told(27, (9, 3))]
    assert sorted(places) == [(i, j) for i in range(9) for j in range(3)]
    assert generation(told(27, (9, 3)), (9, 3)) == ()
    assert len(generation((), (1, 5))) == 5


def test_it_learns_where_losses_are_low():
    early = [math.dist(place, (8, 3)) for place, _ in told(48)[:GENERATION]]
    late = [math.dist(place, (8, 3)) for place, _ in told(48)[-3 * GENERATION :]]
    assert sum(late) / len(late) < sum(early) / len(early)


def test_what_diverges_is_avoided():
    found = ()
    for _ in range(5):
        found += tuple(
            (place, math.inf if place[0] > 6 else place[1] / 9 - place[0] / 99)
            for place in generation(found, (13, 9))
        )
    diverged = [math.isinf(loss) for _, loss in found]
    assert sum(diverged[-16:]) < sum(diverged[:16])


def test_more_trials_go_on_with_the_same_ones():
    few, many = run(optuna(12, widths=(32,))), run(optuna(20, widths=(32,)))
    first = [one.id for one in optuna(12, widths=(32,)).screen("stays", 32, _all(few)).trials]
    assert len(first) == 12
    assert first == [one.id for one in optuna(20, widths=(32,)).screen("stays", 32, _all(many)).trials[:12]]


def _all(results):
    from mupwd.sweep.search import Losses

    return Losses(results.values(), ())


def test_nothing_is_printed(capfd):
    generation.cache_clear()
    generation((((3, 3), 1.0),), (13, 9))
    assert capfd.readouterr() == ("", "")


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    sweep = Sweep((32, 64), RATES, (0.1, 1.0), steps=10, optuna=8)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mupwd\[optuna\]'"):
        sweep.study()


def test_a_sweep_says_what_optuna_chooses_between():
    sweep = Sweep((32, 64), RATES, (0.25, 1.0), steps=10, optuna=8)
    assert sweep.extent().startswith(
        "8 pairs that Optuna chooses, learning rates 0.000976562 to 0.125 and weight decays"
    )
    trials = sweep.study().wanted([])
    assert len(trials) == 2 * 8
    assert {one.hyperparameters["weight_decay"] for one in trials} <= set(axis((0.25, 1.0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optuna": 0}, "optuna must be a whole number of at least 1, got 0"),
        ({"optuna": 8.0}, "optuna must be a whole number"),
        ({"halving": 1}, "halving must be a whole number of at least 2, got 1"),
        ({"halving": True}, "halving must be a whole number"),
        ({"optuna": 8, "halving": 3}, "give either halving or optuna; got 3 and 8"),
        ({"optuna": 8, "learning_rates": (0.1,), "weight_decays": (0.1,)}, "both are the same"),
        ({"halving": 20}, "give a smaller factor"),
        ({"hyperparameters": {"stop_at": 3}}, "may not hold 'stop_at'"),
    ],
)
def test_what_is_no_search_is_refused(changes, message):
    right = {"widths": (32, 64), "learning_rates": RATES, "weight_decays": (0.1, 0.2), "steps": 90}
    with pytest.raises(ValueError, match=message):
        Sweep(**{**right, **changes})
