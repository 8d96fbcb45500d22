"""Random programs of supported operations: roles, axes and ratios are the ones they were built with."""

import numpy as np
import pytest
from helpers.random_programs import DATA, TOKENS, Builder
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import mupwd

BASE, TARGET = 8, 24
QUICK = settings(max_examples=60, deadline=None, derandomize=True, phases=(Phase.generate, Phase.shrink))


def family_of(program):
    return mupwd.family(program.build, base=BASE, inputs=(TOKENS, DATA))


@QUICK
@given(st.data())
def test_the_truth_is_found(data):
    program = Builder(data.draw).program()
    family = family_of(program)
    assert {path: p.role for path, p in family.parameters.items()} == {
        path: truth.role for path, truth in sorted(program.truth.items())
    }
    plan = family.plan(TARGET, form="forward")
    for path, truth in program.truth.items():
        found = family.parameters[path]
        for axis, (word, size) in enumerate(truth.axes):
            assert found.growing[axis] == size.grows
            words = found.axes[axis].split("+")
            # An axis that survives and does not grow may as well be called one of copies.
            assert (
                word in words
                or (word == "out" and words == ["stack"] and not size.grows)
                or (word == "stack" and words == ["out"])
            )
        assert plan[path].m_in == pytest.approx(truth.ratio({"in"}, BASE, TARGET)) or truth.role == "tied"
        assert plan[path].m_out == pytest.approx(truth.ratio({"out", "elementwise"}, BASE, TARGET)) or (
            truth.role == "tied"
        )


@QUICK
@given(st.data(), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_the_layout_does_not_matter(data, first, second):
    seen = []

    def recorded(strategy):
        seen.append(data.draw(strategy))
        return seen[-1]

    one = Builder(recorded, np.random.default_rng(first)).program()
    again = iter(seen)
    other = Builder(lambda strategy: next(again), np.random.default_rng(second)).program()
    plans = [family_of(program).plan(TARGET, form="forward") for program in (one, other)]
    multipliers = [
        {path: (p.role, p.lr, p.wd, p.eps, p.init, p.forward) for path, p in plan.items()} for plan in plans
    ]
    assert multipliers[0] == multipliers[1]
