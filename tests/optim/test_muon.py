"""Muon with a plan: optax's own at the base; at a target, steps of the base's RMS-to-RMS norm and decay."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.contrib import MuonDimensionNumbers, _muon

import mupwd
from mupwd.optim import muon

AXES = {
    "embedding": "lookup out",
    "up": "stack in out",
    "router": "narrow: in out",
    "gain": "elementwise",
    "readout": "output: in out",
}
NUMBERS = {"up": MuonDimensionNumbers((1,), (2,)), "router": MuonDimensionNumbers((0,), (1,))}
ALL_NUMBERS = {name: NUMBERS.get(name) for name in AXES}
ARGUMENTS = {"learning_rate": 1e-2, "weight_decay": 0.3, "adam_weight_decay": 0.2}


def shapes(d):
    return {"embedding": (6, d), "up": (2, d, 3 * d), "router": (d, 4), "gain": (d,), "readout": (d, 2)}


def tree(d, seed):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes(d).items()}


@pytest.fixture(scope="module")
def family():
    return mupwd.family_from_shapes(tree(8, 0), tree(16, 0), axes=AXES)


def trained(transform, params, gradients):
    with jax.numpy_dtype_promotion("standard"):
        state = transform.init(params)
        for g in gradients:
            updates, state = jax.jit(transform.update)(g, state, params)
            params = optax.apply_updates(params, updates)
    return params


def rms_norm(w):
    """The RMS-to-RMS operator norm."""
    return float(np.linalg.norm(w, 2)) * math.sqrt(w.shape[0] / w.shape[1])


@pytest.mark.parametrize(
    "arguments",
    [{}, {"consistent_rms": 0.2, "nesterov": False, "adam_learning_rate": 1e-3, "ns_coeffs": "dion"}],
    ids=["default", "consistent_rms"],
)
def test_at_the_base_it_is_optax_with_the_plans_axes(family, arguments):
    params, gradients = tree(8, 0), [tree(8, seed) for seed in (1, 2)]
    given = ARGUMENTS | arguments
    plan = family.plan(params, recipe="mup")
    theirs = optax.contrib.muon(**given, muon_weight_dimension_numbers=ALL_NUMBERS)
    wanted = trained(theirs, params, gradients)
    for axes in (None, ALL_NUMBERS, lambda params: {name: ALL_NUMBERS[name] for name in params}):
        ours = mupwd.wrap(optax.contrib.muon, plan)(**given, muon_weight_dimension_numbers=axes)
        jax.tree.map(np.testing.assert_array_equal, trained(ours, params, gradients), wanted)


@pytest.mark.parametrize(
    ("recipe", "consistent_rms"), [("mupwd", None), ("mupwd", 0.2), ("mup_linear", None), ("completep", None)]
)
def test_a_step_has_the_bases_norm_and_decay(family, recipe, consistent_rms):
    """With coefficients that orthogonalise well, so that norms are compared to a percent."""
    given = {
        "learning_rate": 1.0,
        "consistent_rms": consistent_rms,
        "ns_coeffs": ((1.5, -0.5, 0.0),) * 30,
        "ns_steps": 30,
    }
    norms, shrunk = {}, {}
    for d in (8, 64):
        params, zero = tree(d, 0), jax.tree.map(jnp.zeros_like, tree(d, 0))
        plan = family.plan(params, recipe=recipe)
        still = trained(mupwd.wrap(optax.contrib.muon, plan)(**given), zero, [tree(d, 1)])
        norms[d] = [rms_norm(still["up"][0]), rms_norm(still["up"][1]), rms_norm(still["router"])]
        decayed = trained(mupwd.wrap(optax.contrib.muon, plan)(**given, weight_decay=0.25), params, [zero])
        shrunk[d] = [float(decayed[name].ravel()[0] / params[name].ravel()[0]) for name in ("up", "router")]
    np.testing.assert_allclose(norms[64], norms[8], rtol=0.01)
    np.testing.assert_allclose(list(shrunk.values()), 0.75, rtol=1e-6)


def test_what_is_not_inside_has_adams_rule(family):
    params, gradients = tree(32, 0), [tree(32, 1), tree(32, 2)]
    plan = family.plan(params)
    whole = trained(mupwd.wrap(optax.contrib.muon, plan)(**ARGUMENTS, eps=1e-2), params, gradients)
    adam = trained(mupwd.adamw(1e-2, plan, eps=1e-2, weight_decay=0.2, nesterov=True), params, gradients)
    for name in ("embedding", "gain", "readout"):
        np.testing.assert_allclose(whole[name], adam[name], rtol=1e-6, err_msg=name)
    assert np.max(np.abs(whole["router"] - adam["router"])) > 1e-3


def test_eps_is_compared_with_the_bases_norm(family):
    """A gradient whose entries shrink as theory says gives the same share of a step that eps takes away."""
    given = {"learning_rate": 1.0, "eps": 4.0, "ns_steps": 1, "nesterov": False}
    sizes = {}
    for d in (8, 64):
        m = d / 8
        # Rank one, as a gradient's main part is; entries 1/m_out for `up`, 1 for the router.
        rank_one = tree(d, 1) | {"up": jnp.full((2, d, 3 * d), 1 / m), "router": jnp.ones((d, 4))}
        zero = jax.tree.map(jnp.zeros_like, rank_one)
        moved = trained(mupwd.wrap(optax.contrib.muon, family.plan(zero))(**given), zero, [rank_one])
        sizes[d] = [rms_norm(moved["up"][0]), rms_norm(moved["router"])]
    np.testing.assert_allclose(sizes[8], sizes[64], rtol=1e-5)


def test_the_state_is_optaxs_own(family):
    params = tree(8, 0)
    ours = mupwd.wrap(optax.contrib.muon, family.plan(params))(**ARGUMENTS)
    theirs = optax.contrib.muon(**ARGUMENTS, muon_weight_dimension_numbers=ALL_NUMBERS)
    assert jax.tree.structure(ours.init(params)) == jax.tree.structure(theirs.init(params))


def test_named_coefficients_are_optaxs():
    """optax has them in a private table; a version that changes or extends it fails here."""
    theirs = {name: np.asarray(preset).tolist() for name, preset in _muon._NS_COEFFS_PRESET_DICT.items()}
    assert {name: np.asarray(preset).tolist() for name, preset in muon._NS_COEFFS.items()} == theirs


def test_sp_leaves_muon_as_it_is(family):
    params, gradients = tree(32, 0), [tree(32, 1)]
    ours = mupwd.wrap(optax.contrib.muon, family.plan(params, recipe="sp"))(**ARGUMENTS)
    theirs = optax.contrib.muon(**ARGUMENTS, muon_weight_dimension_numbers=ALL_NUMBERS)
    jax.tree.map(
        np.testing.assert_array_equal, trained(ours, params, gradients), trained(theirs, params, gradients)
    )


def test_ones_own_dimension_numbers(family):
    params, gradients = tree(32, 0), [tree(32, 1)]
    plan = family.plan(params)
    make = mupwd.wrap(optax.contrib.muon, plan)
    # A part of the tree, negative axes; a kernel left to Adam; a readout given to Muon.
    own = ALL_NUMBERS | {
        "up": MuonDimensionNumbers(-2, -1),
        "router": None,
        "readout": MuonDimensionNumbers(0, 1),
    }
    found = trained(make(**ARGUMENTS, muon_weight_dimension_numbers=own), params, gradients)
    wanted = trained(make(**ARGUMENTS), params, gradients)
    np.testing.assert_array_equal(found["up"], wanted["up"])
    # Adam's first step, with Nesterov momentum, has entries of one size; Muon's has not.
    sizes = {name: np.abs(found[name] - params[name]) for name in ("readout", "gain")}
    assert np.ptp(sizes["gain"]) < 1e-6 < np.ptp(sizes["readout"])


def test_what_cannot_be_is_refused(family):
    params = tree(32, 0)
    plan = family.plan(params)
    make = mupwd.wrap(optax.contrib.muon, plan)
    turned = ALL_NUMBERS | {"router": MuonDimensionNumbers(1, 0)}
    message = (
        "'router' is given MuonDimensionNumbers(reduction_axis=1, output_axis=0); in the plan, whose axes are in, out "
        "(role narrow), it is MuonDimensionNumbers(reduction_axis=(0,), output_axis=(1,))"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        make(**ARGUMENTS, muon_weight_dimension_numbers=turned).init(params)
    with pytest.raises(ValueError, match=r"'embedding' is given .* axes are lookup, out .* it is no matrix"):
        make(1e-2, muon_weight_dimension_numbers=MuonDimensionNumbers()).init(params)
    with pytest.raises(ValueError, match="nothing in it covers the parameter 'embedding'"):
        make(1e-2, muon_weight_dimension_numbers=NUMBERS).init(params)
    with pytest.raises(ValueError, match="adaptive=True multiplies the step by the nuclear norm"):
        make(1e-2, adaptive=True)
    with pytest.raises(ValueError, match="ns_coeffs='other'; expected 'standard' or 'dion'"):
        make(1e-2, ns_coeffs="other")
    fitted = mupwd.wrap(optax.contrib.muon, family.plan(params, recipe=mupwd.recipes.fitted(0.7)))
    assert fitted(1e-2)
    with pytest.raises(ValueError, match="were fitted to AdamW's steady state"):
        fitted(1e-2, weight_decay=0.1)
