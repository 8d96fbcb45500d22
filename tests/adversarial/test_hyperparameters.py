"""Hyperparameters that cannot be meant: none of them trains a model, each is named."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mupwd
from mupwd import recipes
from mupwd.diagnostics import activation_products, instrument, sublayer_gains
from mupwd.plan import PlanError
from mupwd.recipes import Powers

AXES = {"kernel": "in out", "readout": "output: in out", "gain": "elementwise"}


def shapes(width):
    return {"kernel": jnp.ones((width, width)), "readout": jnp.ones((width, 3)), "gain": jnp.ones(width)}


FAMILY = mupwd.family_from_shapes(shapes(4), shapes(8), axes=AXES)
PARAMS = shapes(8)
PLAN = FAMILY.plan(PARAMS)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
@pytest.mark.parametrize(
    "value", [jnp.ones(1), np.ones(8), True, jnp.array(True), np.array(1j), 10**400], ids=str
)
def test_a_rate_that_would_be_spread_along_an_axis_or_read_as_a_number(name, value):
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must be "):
        mupwd.adamw(**{"learning_rate": 1e-3, "plan": PLAN, name: value})
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must be "):
        mupwd.wrap(optax.adamw, PLAN)(**{"learning_rate": 1e-3, name: value})


@pytest.mark.parametrize("name", ["b1", "b2"])
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -0.1, 1, 1.0, 1e38, "0.9", None, True, np.ones(1), lambda _: 0.9]
)
def test_a_beta_that_averages_nothing(name, value):
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must be "):
        mupwd.adamw(1e-3, PLAN, **{name: value})
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must be "):
        mupwd.wrap(optax.nadam, PLAN)(1e-3, **{name: value})


@pytest.mark.parametrize("name", ["eps", "eps_root"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1e-8, "1e-8", None, np.ones(8)], ids=str)
def test_an_eps_that_turns_or_stops_the_step(name, value):
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must be "):
        mupwd.adamw(1e-3, PLAN, **{name: value})


@pytest.mark.parametrize(
    ("dtype", "message"), [("int8", "round the moment to 0"), ("float33", "is no dtype")]
)
def test_a_moment_that_holds_no_fractions(dtype, message):
    with pytest.raises(TypeError, match=f"mu_dtype='{dtype}'.*{message}"):
        mupwd.adamw(1e-3, PLAN, mu_dtype=dtype)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
@pytest.mark.parametrize("returned", [None, "0.1", np.ones(2), jnp.ones(1), True], ids=str)
def test_a_schedule_that_returns_no_number(name, returned):
    tx = mupwd.adamw(**{"learning_rate": 1e-3, "plan": PLAN, name: lambda _: returned})
    state = tx.init(PARAMS)
    with pytest.raises((TypeError, ValueError), match=rf"^what the schedule {name} returns must be "):
        jax.eval_shape(tx.update, PARAMS, state, PARAMS)


@pytest.mark.parametrize("value", [jnp.ones(1), True, "1"], ids=str)
def test_a_norm_that_is_no_number(value):
    with pytest.raises((TypeError, ValueError), match=r"^max_norm must be "):
        mupwd.clip_by_global_norm(value, PLAN)


@pytest.mark.parametrize("plan", [None, {}, {"kernel": 1.0}, FAMILY], ids=["None", "{}", "dict", "family"])
def test_something_else_in_the_place_of_a_plan(plan):
    takers = {
        "adamw": lambda: mupwd.adamw(1e-3, plan),
        "wrap": lambda: mupwd.wrap(optax.sgd, plan),
        "decay": lambda: mupwd.add_plan_decayed_weights(0.1, plan),
        "rate": lambda: mupwd.scale_by_plan_learning_rate(0.1, plan),
        "clip": lambda: mupwd.clip_by_global_norm(1.0, plan),
        "spectrum": lambda: mupwd.spectrum(PARAMS, plan),
        "tracker": lambda: mupwd.track_spectrum(plan),
        "forward": lambda: mupwd.apply_forward(lambda params: params, plan),
        "gradients": lambda: mupwd.optim.scale_by_plan_gradient(plan),
    }
    for take in takers.values():
        with pytest.raises(
            TypeError, match=r"^plan must be a mupwd\.Plan, as family\.plan\(width\) returns it; got"
        ):
            take()


def test_something_else_in_the_place_of_a_function():
    for wrong in (
        lambda: mupwd.apply_forward(PARAMS, PLAN),
        lambda: instrument(None),
        lambda: activation_products({}),
        lambda: sublayer_gains("fn"),
    ):
        with pytest.raises(TypeError, match=r"^fn must be a function fn\(params, \*args\); got"):
            wrong()


@pytest.mark.parametrize("name", ["depth_ratio", "batch_ratio", "token_ratio", "sequence_ratio"])
@pytest.mark.parametrize(
    "value", [0, -1, math.nan, math.inf, 10**400, "2", None, True, 1j, np.ones(1)], ids=str
)
def test_a_ratio_that_is_none(name, value):
    with pytest.raises(PlanError, match=rf"^{name} must be .*target / base and must be positive and finite"):
        FAMILY.plan(PARAMS, recipe="completed_p", **{name: value})


@pytest.mark.parametrize("value", [np.float64(2), np.int64(2), np.array(2.0), jnp.float32(2)], ids=repr)
def test_a_ratio_of_any_library(value):
    plan = FAMILY.plan(PARAMS, recipe="completed_p", batch_ratio=value)
    assert type(plan.batch_ratio) is float
    assert plan == FAMILY.plan(PARAMS, recipe="completed_p", batch_ratio=2)


@pytest.mark.parametrize(("ratio", "name"), [(5e-324, "token_ratio"), (1e308, "batch_ratio")])
def test_a_ratio_whose_powers_leave_the_floats(ratio, name):
    ratios = (
        {"token_ratio": ratio} if name == "token_ratio" else {"batch_ratio": ratio, "token_ratio": 1 / ratio}
    )
    with pytest.raises(PlanError, match=r"(kernel: its multiplier \w+|beta_ratio) = inf"):
        FAMILY.plan(PARAMS, recipe="completed_p", **ratios)


@pytest.mark.parametrize("exponent", [1e6, -1e6])
def test_a_multiplier_that_overflows_or_vanishes(exponent):
    """A learning rate of 0 would freeze the parameter without a word."""
    mupwd_recipe = recipes.get("mupwd")
    own = replace(mupwd_recipe, matrix=replace(mupwd_recipe.matrix, lr=Powers(m_in=exponent)))
    with pytest.raises(PlanError, match=r"^kernel: its multiplier lr = (inf|0) is no positive finite number"):
        FAMILY.plan(PARAMS, recipe=own)


@pytest.mark.parametrize("exponent", ["0.5", None, True, math.nan, 10**400, [1]], ids=str)
def test_an_exponent_that_is_no_number(exponent):
    with pytest.raises(ValueError, match=r"^the exponent m_in=.* is not a finite number"):
        Powers(m_in=exponent)


@pytest.mark.parametrize(
    "name", ["fitted({[]: 1})", "fitted(" + "(" * 5000 + ")", "fitted(__import__('os'))"]
)
def test_a_recipes_name_is_read_and_never_run(name):
    with pytest.raises(ValueError, match="expected an exponent") as caught:
        recipes.get(name)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["", " \n"])
def test_a_recipe_of_no_name_is_compared_with_none(name):
    with pytest.raises(
        ValueError, match=r"^the name of the recipe is empty\. There are: mupwd, mup, "
    ) as caught:
        recipes.get(name)
    assert "did you mean" not in str(caught.value)


def test_a_pattern_of_a_recipe_that_is_none():
    with pytest.raises(ValueError, match=r"mupwd: '\[' is not a regular expression"):
        replace(recipes.get("mupwd"), decay_exponents=(("[", 0.5),))


@pytest.mark.parametrize("value", ["0.1", -1, math.nan, 1j, np.ones(2), True, 10**400], ids=str)
def test_numbers_of_a_table(value):
    for name in ("learning_rate", "weight_decay"):
        with pytest.raises(PlanError, match=rf"^{name} must be "):
            PLAN.table(**{"learning_rate": 0.1, name: value})


@pytest.mark.parametrize("target", [0, -1, 2.5, True, "8", None, [], np.float32(8), np.array(8.0)], ids=repr)
def test_a_width_that_is_none(target):
    with pytest.raises(PlanError, match=r"^plan\(.*width"):
        FAMILY.plan(target)


@pytest.mark.parametrize("path", [None, 3, ("kernel",)], ids=repr)
def test_an_explanation_of_nothing(path):
    with pytest.raises(PlanError, match=r"expected the name of a parameter, such as 'gain'"):
        PLAN.explain(path)


def built(width, seed=0):
    key = jax.random.key(seed)
    return (lambda p, x: jnp.tanh(x @ p["up"]) @ p["out"]), {
        "up": jax.random.normal(key, (3, width)),
        "out": jax.random.normal(key, (width, 2)),
    }


@pytest.fixture(scope="module")
def family():
    return mupwd.family(built, base=8, inputs=(jnp.ones((5, 3)),))


@pytest.mark.parametrize("name", ["width", "seed"])
@pytest.mark.parametrize("value", [2.5, True, None, "8", jnp.array(8), {"up": 1}], ids=repr)
def test_what_cannot_be_initialised(family, name, value):
    with pytest.raises(mupwd.TraceError, match=rf"^init\({name}=.*\): expected an integer"):
        family.init(**{"width": 8, name: value})


@pytest.mark.parametrize("width", [2**40, 10**30, np.int64(32)])
def test_widths_that_nobody_could_hold_in_memory(family, width):
    plan = family.plan(width)
    assert plan["out"].lr == pytest.approx(8 / int(width))
    assert str(int(width)) in plan.table()


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "8", None], ids=repr)
def test_counts_of_the_spectrum(value):
    for wrong in (
        lambda: mupwd.spectrum(PARAMS, PLAN, k=value),
        lambda: mupwd.track_spectrum(PLAN, k=value),
        lambda: mupwd.track_spectrum(PLAN, every=value),
        lambda: mupwd.track_spectrum(PLAN, audit_every=value),
    ):
        with pytest.raises(ValueError, match=r"^(k|every|audit_every) must be a positive integer"):
            wrong()


@pytest.mark.parametrize("value", [0, -1, math.nan, 2, True, "0.1", None, jnp.float32(0.01)], ids=repr)
def test_tolerances_of_the_spectrum(value):
    with pytest.raises(ValueError, match=r"^tol must be between 1e-5"):
        mupwd.spectrum(PARAMS, PLAN, tol=value)


def test_integers_of_numpy_are_integers():
    assert mupwd.spectrum(PARAMS, PLAN, k=np.int64(2))["kernel"].sigma.shape == (2,)
    mupwd.track_spectrum(PLAN, k=np.int64(2), every=np.int32(3))


@pytest.mark.parametrize("value", ["0.1", math.nan, -1.0, np.ones(2)], ids=str)
def test_rates_of_the_tracker(value):
    for name in ("learning_rate", "weight_decay"):
        with pytest.raises((TypeError, ValueError), match=rf"^{name} must be "):
            mupwd.track_spectrum(PLAN, **{"learning_rate": 0.1, "weight_decay": 0.1, name: value})


BASE = shapes(4)
AT_BASE = FAMILY.plan(BASE)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf, 1e38, 1e-45, 0.0], ids=str)
def test_gradients_that_are_no_numbers_do_what_optax_does(value):
    gradients = jax.tree.map(lambda w: jnp.full_like(w, 0.1).at[0].set(value), BASE)
    pairs = [
        (
            optax.adamw(1e-2, mask={"kernel": True, "readout": False, "gain": False}),
            mupwd.adamw(1e-2, AT_BASE),
        ),
        (optax.clip_by_global_norm(1.0), mupwd.clip_by_global_norm(1.0, AT_BASE)),
        (optax.sgd(1e-2, momentum=0.9), mupwd.wrap(optax.sgd, AT_BASE)(1e-2, momentum=0.9)),
    ]
    for theirs, ours in pairs:
        with jax.numpy_dtype_promotion("standard"):
            expected, _ = theirs.update(gradients, theirs.init(BASE), BASE)
        found, _ = ours.update(gradients, ours.init(BASE), BASE)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
