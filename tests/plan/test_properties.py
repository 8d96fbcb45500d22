"""What holds for every shape, recipe and form."""

import math
from itertools import permutations

import pytest
from helpers.parameters import llama_plan, parameter, plan_of_one
from hypothesis import given
from hypothesis import strategies as st

from mupwd import recipes
from mupwd.plan import make_plan
from mupwd.tracing.roles import Parameter

NAMES = st.sampled_from(recipes.names())
FORMS = st.sampled_from(["folded", "forward"])
SIZES = st.integers(1, 5000)


def numbers(p):
    """The multipliers; those of the initial values are left out where they are the model's own."""
    found = (p.m_in, p.m_out, p.lr, p.wd, p.eps, p.init, p.forward, p.gradient)
    return tuple(x for x in found if x is not None)


@given(NAMES, FORMS, SIZES)
def test_at_the_base_every_multiplier_is_exactly_1(recipe, form, width):
    plan = llama_plan(width * 16, width * 16, recipe=recipe, form=form)
    for p in plan.values():
        assert p.wd in (0.0, 1.0)
        assert {x for x in numbers(p) if x != p.wd} <= {1.0}
    assert (plan.forward, plan.beta_ratio, plan.residual_scale) == ({}, 1.0, 1.0)


@given(NAMES, st.sampled_from([64, 128, 1024, 4096]))
def test_the_base_has_the_decay_mask_and_the_roles_of_every_target(recipe, width):
    base, target = llama_plan(64, 64, recipe=recipe), llama_plan(64, width, recipe=recipe)
    assert [(p.role, p.wd == 0) for p in base.values()] == [(p.role, p.wd == 0) for p in target.values()]


@given(
    NAMES,
    FORMS,
    st.sampled_from(
        [
            ("matrix", "in in out"),
            ("narrow", "in in out"),
            ("matrix", "stack in out"),
            ("output", "in in out"),
        ]
    ),
    st.tuples(SIZES, SIZES, SIZES),
    st.tuples(SIZES, SIZES, SIZES),
    st.permutations(range(3)),
)
def test_the_layout_does_not_matter(recipe, form, role_and_axes, base, target, order):
    role, words = role_and_axes
    axes = words.split()
    growing = tuple(a != "stack" and not (role in ("narrow", "output") and a == "out") for a in axes)
    target = tuple(t if g else b for t, b, g in zip(target, base, growing, strict=True))

    def plan_in(order):
        def pick(x):
            return tuple(x[i] for i in order)

        w = Parameter("w", role, pick(base), "float32", pick(axes), pick(growing))
        return make_plan({"w": w}, {"w": pick(target)}, recipe=recipe, form=form)["w"]

    assert numbers(plan_in(order)) == pytest.approx(numbers(plan_in(range(3))), rel=1e-12)


@given(SIZES, SIZES)
def test_ratios_need_not_be_integers(base, target):
    p = plan_of_one("matrix", (base, base), (target, target), "in out")
    m = target / base
    assert (p.m_in, p.lr, p.wd, p.init) == pytest.approx(
        (m, 1 / m, math.sqrt(m), 1 / math.sqrt(m)), rel=1e-12
    )


def test_one_and_a_half():
    p = plan_of_one("matrix", (256, 256), (384, 384), "in out")
    assert (p.m_in, p.lr, p.wd) == pytest.approx((1.5, 2 / 3, 1.2247448714), rel=1e-10)


@given(
    NAMES,
    st.sampled_from([1 / 3, 0.5, 1.0, 1.5, 4.0]),
    st.sampled_from([1 / 3, 0.5, 1.0, 1.5, 4.0]),
    st.sampled_from(["input", "output", "matrix", "narrow", "wide", "vector"]),
    SIZES,
)
def test_the_forms_are_one_rule(recipe, batch, tokens, role, width):
    """Every product that Adam's steady state depends on is the same in both forms."""
    words = {"vector": "elementwise elementwise"}.get(role, "in out")
    options = {"recipe": recipe, "batch_ratio": batch, "token_ratio": tokens}
    folded = plan_of_one(role, (64, 64), (width, width), words, form="folded", **options)
    forward = plan_of_one(role, (64, 64), (width, width), words, form="forward", **options)
    assert folded.lr * folded.wd == pytest.approx(forward.lr * forward.wd, rel=1e-12)
    assert folded.lr / folded.forward == pytest.approx(forward.lr * forward.forward, rel=1e-12)
    assert folded.eps / folded.gradient == pytest.approx(forward.eps / forward.gradient, rel=1e-12)
    if folded.init is not None and forward.init is not None:
        assert folded.init == pytest.approx(forward.init * forward.forward, rel=1e-12)


@given(st.floats(0.3, 1.2), st.integers(2, 64))
def test_the_fitted_decay_keeps_the_top_singular_value(e, m):
    p = plan_of_one("matrix", (8, 8), (8 * m, 8 * m), "in out", recipe=recipes.fitted(e))
    assert math.sqrt(p.lr / p.wd) * m**e == pytest.approx(1.0, rel=1e-9)


def test_every_order_of_three_axes_is_tried_at_least_here():
    """A plain sweep beside the sampled one: a fused query kernel in each of its layouts."""
    base, target, words = (64, 2, 16), (256, 4, 16), ("in", "out", "out")
    for order in permutations(range(3)):
        b, t, w = (tuple(x[i] for i in order) for x in (base, target, words))
        p = make_plan({"q": parameter("q", "matrix", b, t, " ".join(w))}, {"q": t})["q"]
        assert (p.m_in, p.m_out, p.lr, p.wd) == (4, 2, 0.25, 2)
