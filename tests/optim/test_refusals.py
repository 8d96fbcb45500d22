"""What the optimizer refuses, and what it says."""

import functools
import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import toys

from mupwd.optim import (
    adamw,
    add_plan_decayed_weights,
    clip_by_global_norm,
    scale_by_plan_gradient,
    scale_by_plan_learning_rate,
)
from mupwd.plan import PlanError


@functools.cache
def toy() -> toys.Toy:
    return toys.plain()


BAD = [-1e-3, math.nan, math.inf, np.float32(-1), jnp.float32(jnp.nan)]


@pytest.mark.parametrize("value", BAD, ids=str)
@pytest.mark.parametrize("decay", ["coupled", "independent"])
def test_a_learning_rate_that_cannot_be_meant(value, decay):
    with pytest.raises(ValueError, match=r"learning_rate must be a finite number, 0 or more; got"):
        adamw(value, toy().plan(), decay=decay)


@pytest.mark.parametrize("value", BAD, ids=str)
def test_a_decay_that_cannot_be_meant(value):
    with pytest.raises(ValueError, match=r"weight_decay must be a finite number, 0 or more; got"):
        adamw(1e-3, toy().plan(), weight_decay=value)


@pytest.mark.parametrize("value", [None, "0.1"])
def test_what_is_no_number_at_all(value):
    with pytest.raises(TypeError, match=r"learning_rate must be a number, a scalar array or a schedule; got"):
        adamw(value, toy().plan())
    with pytest.raises(TypeError, match=r"weight_decay must be a number"):
        add_plan_decayed_weights(value, toy().plan())
    with pytest.raises(TypeError, match=r"max_norm must be a number"):
        clip_by_global_norm(value, toy().plan())


def test_a_wrong_word_for_the_decay():
    with pytest.raises(ValueError, match='decay must be "coupled" or "independent"; got \'decoupled\''):
        adamw(1e-3, toy().plan(), decay="decoupled")


@pytest.mark.parametrize(
    ("rate", "kind"), [(optax.constant_schedule(1e-3), "a schedule"), (jnp.float32(1e-3), "an array")]
)
def test_independent_decay_without_a_peak_that_can_be_read(rate, kind):
    with pytest.raises(ValueError, match=rf"learning_rate is {kind}.*pass peak_learning_rate="):
        adamw(rate, toy().plan(), decay="independent")


def test_independent_decay_under_inject_hyperparams_needs_the_peak():
    plan, params = toy().plan(), toy().params
    injected = optax.inject_hyperparams(adamw)
    with pytest.raises(ValueError, match="pass peak_learning_rate="):
        injected(learning_rate=1e-3, plan=plan, decay="independent").init(params)
    injected(learning_rate=1e-3, plan=plan, decay="independent", peak_learning_rate=1e-3).init(params)


@pytest.mark.parametrize("peak", [0.0, -1.0, math.nan])
def test_a_peak_that_cannot_be_divided_by(peak):
    with pytest.raises(ValueError, match="peak_learning_rate must be a finite number above 0"):
        adamw(1e-3, toy().plan(), decay="independent", peak_learning_rate=peak)
    with pytest.raises(ValueError, match=r"learning_rate .*must be a finite number above 0; got 0"):
        adamw(0.0, toy().plan(), decay="independent")


def test_a_peak_that_would_be_ignored():
    with pytest.raises(ValueError, match="peak_learning_rate has no use in coupled decay"):
        adamw(1e-3, toy().plan(), peak_learning_rate=1e-3)


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_a_norm_that_nothing_can_have(max_norm):
    with pytest.raises(ValueError, match="max_norm must be a finite number above 0"):
        clip_by_global_norm(max_norm, toy().plan())


def transforms():
    plan = toy().plan()
    return {
        "adamw": adamw(1e-3, plan),
        "scale_by_plan_learning_rate": scale_by_plan_learning_rate(1e-3, plan),
        "add_plan_decayed_weights": add_plan_decayed_weights(0.1, plan),
        "clip_by_global_norm": clip_by_global_norm(1.0, plan),
    }


def test_a_unit_that_gradients_do_not_have():
    """`lr` would divide by the learning rate's factors without a word."""
    with pytest.raises(ValueError, match="unit must be 'gradient_size' or 'eps'; got 'lr'"):
        scale_by_plan_gradient(toy().plan(), "lr")


@pytest.mark.parametrize("name", transforms())
def test_parameters_that_do_not_fit_the_plan(name):
    tx, params = transforms()[name], toy().params
    with pytest.raises(PlanError, match="other/kernel"):
        tx.init({**params, "other": {"kernel": jnp.zeros((3, 3))}})
    with pytest.raises(PlanError, match=r"hidden/kernel: \(16, 16\), in the plan \(32, 32\)"):
        tx.init({**params, "hidden": {"kernel": jnp.zeros((16, 16))}})
    tx.init({"hidden": params["hidden"]})


@pytest.mark.parametrize("name", transforms())
def test_a_tree_that_lost_its_names(name):
    with pytest.raises(PlanError, match=r"a single array, not a tree of named parameters.*optax\.flatten"):
        optax.flatten(transforms()[name]).init(toy().params)


@pytest.mark.parametrize("name", transforms())
def test_an_update_on_another_tree_than_the_one_of_init(name):
    tx, params = transforms()[name], toy().params
    other = {"other": params["hidden"]}
    state = tx.init({})
    if name == "adamw":
        state = (optax.scale_by_adam().init(other), *state[1:])
    with pytest.raises(PlanError, match=r"met a parameter 'other/kernel' that is not in the plan"):
        tx.update(other, state, other)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
def test_a_schedule_with_the_state_of_a_number(name):
    state = adamw(1e-3, toy().plan(), weight_decay=1e-3).init(toy().params)
    rate, decay = ((lambda step: 1e-3) if name == one else 1e-3 for one in ("learning_rate", "weight_decay"))
    tx = adamw(rate, toy().plan(), weight_decay=decay)
    with pytest.raises(ValueError, match=f"{name} is a schedule, but the state has no count of steps"):
        tx.update(toy().params, state, toy().params)


def test_an_update_without_parameters():
    tx, params = adamw(1e-3, toy().plan()), toy().params
    with pytest.raises(ValueError, match=r"call tx.update\(gradients, state, params\) with all three"):
        tx.update(params, tx.init(params))


def test_a_mask_that_names_nothing_or_leaves_something_out():
    plan, params = toy().plan(), toy().params
    with pytest.raises(ValueError, match="mask: 'hiden' is no parameter of the plan"):
        adamw(1e-3, plan, mask={"up": True, "hiden": True, "readout": True})
    with pytest.raises(ValueError, match="mask: nothing in it covers the parameter 'hidden/kernel'"):
        adamw(1e-3, plan, mask={"up": True, "readout": True}).init(params)
    with pytest.raises(ValueError, match="mask: 'hiden' is no parameter of the plan"):
        adamw(1e-3, plan, mask=lambda params: {"hiden": True}).init(params)
