"""Families from shapes and words for axes, where there is no function to trace."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.networks import NETWORKS, pair_network

import mupwd
from mupwd.plan import PlanError
from mupwd.proxy import Llama, ProxyConfig
from mupwd.proxy import family as proxy_family

CONFIG = ProxyConfig(vocab_size=40, layers=2, kv_heads=1, qk_norm=True)
AXES = {
    "embedding": "lookup out",
    ".*_norm/scale|norm/scale": "elementwise",
    "layers/./attention/[kv]/kernel": "narrow: in out",
    "layers/./(attention/[qo]|mlp/.*)/kernel": "in out",
    "readout/kernel": "output: in out",
}


def llama(width):
    from flax import nnx

    return nnx.eval_shape(lambda: nnx.state(Llama(width, CONFIG, nnx.Rngs(0)), nnx.Param))


def shapes(width):
    return {
        "w": jax.ShapeDtypeStruct((width, width), jnp.float32),
        "b": np.ones(width, np.float32),
        "s": jnp.ones(3),
    }


def refused(message, axes, base=None, delta=None):
    with pytest.raises(mupwd.TraceError, match=message) as caught:
        mupwd.family_from_shapes(base or shapes(8), delta or shapes(16), axes=axes)
    return str(caught.value)


def test_a_llama_equals_its_traced_family():
    stated = mupwd.family_from_shapes(llama(32), llama(64), axes=AXES)
    traced = proxy_family(CONFIG, base=32)
    for path, parameter in traced.parameters.items():
        found = stated.parameters[path]
        assert (found.role, found.shape, found.growing) == (
            parameter.role,
            parameter.shape,
            parameter.growing,
        )
        if any(parameter.growing):
            assert found.axes == parameter.axes
    plans = stated.plan(llama(128)), traced.plan(128)
    for path, mine in plans[0].items():
        its = plans[1][path]
        assert (mine.lr, mine.wd, mine.eps, mine.init) == (its.lr, its.wd, its.eps, its.init)


@pytest.mark.parametrize("framework", NETWORKS)
def test_models_and_their_parameters(framework):
    network = NETWORKS[framework]
    if framework in ("linen", "haiku"):
        base, delta = (network.params(network.build(width)) for width in (8, 16))
    else:
        base, delta = (network.build(width, 0) for width in (8, 16))
    turned = framework == "equinox"
    axes = {
        "up/[kw].*": "in out",
        "hidden/[kw].*": "in out",
        "readout/[kw].*": "output: in out",
        ".*/b.*": "",
    }
    axes = {k: v for k, v in axes.items() if v} | {"(up|hidden)/b.*": "elementwise"}
    if turned:
        axes |= {"up/[kw].*": "out in", "hidden/[kw].*": "out in", "readout/[kw].*": "output: out in"}
    family = mupwd.family_from_shapes(base, delta, axes=axes)
    roles = {network.paths[path]: parameter.role for path, parameter in family.parameters.items()}
    # Words alone do not say that data feeds a kernel; its multipliers are an input's.
    assert roles == {
        "up": "wide",
        "up_bias": "vector",
        "hidden": "matrix",
        "hidden_bias": "vector",
        "readout": "output",
        "readout_bias": "scalar",
    }


def test_it_plans_for_parameters_only():
    family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"w": "in out", "b": "elementwise"})
    assert repr(family) == "Family(3 parameters: 1 matrix, 1 scalar, 1 vector)"
    plan = family.plan(shapes(32))
    assert (plan["w"].lr, plan["b"].lr, plan["s"].lr, plan.width) == (0.25, 1, 1, None)
    for ask in (lambda: family.plan(32), lambda: family.init(32)):
        with pytest.raises(mupwd.TraceError, match="loaded or made from shapes and cannot build models"):
            ask()


def test_depth_recipes_need_a_traced_family():
    def deep(width, layers):
        return {"layers": [{"w": jnp.ones((width, width))} for _ in range(layers)]}

    family = mupwd.family_from_shapes(deep(8, 2), deep(16, 2), axes={".*/w": "in out"})
    with pytest.raises(PlanError, match="shapes alone do not show branches"):
        family.plan(deep(16, 4), recipe="completep", depth_ratio=2.0)
    assert family.plan(deep(16, 4), depth_ratio=2.0)["layers/3/w"].lr == 0.5


def test_a_parameter_that_grows_must_be_described():
    message = refused(r"^b grows from \(8,\) to \(16,\), but axes= does not say", {"w": "in out"})
    assert "axes={'b': 'elementwise'}" in message
    assert "axes={'w': 'in out'}" in refused(
        r"^w grows .* \(1 parameter\(s\) in all: w\)", {"b": "elementwise"}
    )


def test_one_side_that_grows_leaves_the_role_open():
    base, delta = ({"w": jnp.ones((width, 4))} for width in (8, 16))
    refused("^w: only its in axis grows", {"w": "in out"}, base, delta)
    family = mupwd.family_from_shapes(base, delta, axes={"w": "narrow: in out"})
    assert family.parameters["w"].role == "narrow"


@pytest.mark.parametrize("word", ["stack", "lookup"])
def test_a_stack_or_a_vocabulary_that_grows_leaves_the_role_open(word):
    base, delta = ({"w": jnp.ones((width, 4))} for width in (8, 16))
    refused("^w: an axis that enumerates or is indexed .* grows", {"w": f"{word} elementwise"}, base, delta)


def test_nothing_grows():
    refused(
        "^no parameter changes its shape between the two trees of parameters",
        {"w": "in out"},
        None,
        shapes(8),
    )


def test_trees_that_differ():
    more = {**shapes(16), "extra": jnp.ones(3)}
    refused(r"^1 parameter\(s\) do not exist at the first width: extra", {"w": "in out"}, None, more)
    flat = {**shapes(16), "w": jnp.ones(16)}
    refused(r"^w has 2 axes at the first width, \(8, 8\), and 1 at the second", {"w": "in out"}, None, flat)


def test_words_that_fit_nothing():
    refused("^override 'v' matches no parameter .* nearest path", {"v": "in out"})
    refused("^axes is str; expected a mapping", "in out")


def test_optaxs_words_for_muon():
    from optax.contrib import MuonDimensionNumbers

    axes = {"w": MuonDimensionNumbers(reduction_axis=1, output_axis=0), "b": "elementwise"}
    family = mupwd.family_from_shapes(shapes(8), shapes(16), axes=axes)
    assert (family.parameters["w"].in_axes, family.parameters["w"].out_axes) == ((1,), (0,))


def test_pairs_are_models_too():
    axes = {"(up|hidden)/w": "in out", "readout/w": "output: in out", "(up|hidden)/b": "elementwise"}
    family = mupwd.family_from_shapes(pair_network(8), pair_network(16), axes=axes)
    assert family.plan(pair_network(32)) == family.plan(pair_network(32)[1])


def test_copies_along_one_axis_are_stated_with_their_number():
    shapes = lambda d: {"qkv": np.ones((d, 3 * d))}  # noqa: E731
    with_number = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"qkv": "in stack3+out"})
    parameter = with_number.parameters["qkv"]
    assert (parameter.role, parameter.axes, parameter.pieces) == ("matrix", ("in", "stack+out"), (1, 3))
    without = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"qkv": "in stack+out"})
    assert without.parameters["qkv"].pieces == (1, 0)
    with pytest.raises(
        mupwd.TraceError, match=r"qkv, axis 1: 'stack5\+out' states 5 equal copies.*24 and 48"
    ):
        mupwd.family_from_shapes(shapes(8), shapes(16), axes={"qkv": "in stack5+out"})
