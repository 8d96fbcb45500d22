"""The same network in every framework is the same family."""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.networks import INPUTS, NETWORKS, OUTPUTS, ROLES, LinenNetwork, X, haiku_network, pair_network

import mupwd
from mupwd.paths import named_leaves

BASE, TARGET = 32, 128


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    return NETWORKS[request.param]


@pytest.fixture(scope="module")
def family(network):
    return mupwd.family(network.build, base=BASE, inputs=(X,), call=network.call)


def build(network, width):
    takes_seed = network.build not in (LinenNetwork, haiku_network)
    return network.build(width, 0) if takes_seed else network.build(width)


def deviations(network, made):
    """Standard deviation of each of the network's parameters in what `init` gave."""
    leaves = named_leaves(made)
    return {name: float(np.std(leaves[path])) for path, name in network.paths.items()}


def test_roles(network, family):
    assert {network.paths[path]: p.role for path, p in family.parameters.items()} == ROLES


def test_a_plan_for_a_width_is_the_plan_for_its_model_and_for_its_parameters(network, family):
    plan = family.plan(TARGET)
    model = build(network, TARGET)
    params = network.params(model)
    shapes = jax.eval_shape(lambda: params)
    assert plan == family.plan(params) == family.plan(shapes)
    assert hash(plan) == hash(family.plan(params))
    if not isinstance(model, nn.Module | hk.Transformed):
        assert plan == family.plan(model)
    plan.check(params)
    assert plan["".join(p for p, name in network.paths.items() if name == "hidden")].lr == BASE / TARGET


def test_the_bases_own_run_has_the_roles_and_the_decay_mask_of_the_targets(family):
    base, target = family.plan(BASE), family.plan(TARGET)
    assert {path: p.role for path, p in base.items()} == {path: p.role for path, p in target.items()}
    assert [p for p in base if base[p].wd == 0] == [p for p in target if target[p].wd == 0] != []
    for p in base.values():
        assert (p.lr, p.eps, p.init, p.forward) == (1, 1, 1, 1)
        assert p.wd in (0, 1)
    assert any(p.wd == 1 for p in base.values())


def test_a_width_between_or_below_the_two_that_were_compared(family):
    below = family.plan(24)
    assert {p.m_in for p in below.values() if p.role == "matrix"} == {0.75}
    assert family.plan(BASE, recipe="mup") != family.plan(BASE, recipe="mupwd")


def test_init_gives_a_model_that_starts_by_the_rule(network, family):
    made = family.init(TARGET, seed=3)
    native = build(network, TARGET)
    assert type(made) is (dict if isinstance(native, nn.Module | tuple) else type(native))
    assert family.plan(made) == family.plan(TARGET)
    base, target = (deviations(network, family.init(width, seed=3)) for width in (BASE, TARGET))
    assert target["hidden"] / base["hidden"] == pytest.approx(0.5, rel=0.1)
    assert target["readout"] / base["readout"] == pytest.approx(0.25, rel=0.3)
    assert target["up"] / base["up"] == pytest.approx(1, rel=0.3)


def test_init_at_the_base_is_the_models_own_bit_for_bit(network, family):
    mine = {path: x for path, x in named_leaves(family.init(BASE)).items() if path in network.paths}
    its = named_leaves(network.params(build(network, BASE)))
    assert len(mine) == len(network.paths)
    for path, leaf in mine.items():
        np.testing.assert_array_equal(leaf, its[path], strict=True)


def test_seeds_give_other_values(network, family):
    zero, again, one = (named_leaves(family.init(TARGET, seed=seed)) for seed in (0, 0, 1))
    path = next(path for path, name in network.paths.items() if name == "hidden")
    assert np.array_equal(zero[path], again[path])
    assert not np.array_equal(zero[path], one[path])


def test_inputs_are_arrays_or_shapes_of_any_batch_size():
    parameters = [
        mupwd.family(pair_network, base=BASE, inputs=(x,)).parameters
        for x in (X, np.zeros((2, INPUTS), np.float32), jnp.zeros((1, INPUTS)))
    ]
    assert [p.role for p in parameters[0].values()] == [p.role for p in parameters[1].values()]
    assert parameters[0] == parameters[1] == parameters[2]


class NnxNormed(nnx.Module):
    def __init__(self, width, rngs):
        self.up = nnx.Linear(INPUTS, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.readout = nnx.Linear(width, OUTPUTS, rngs=rngs)

    def __call__(self, x):
        return self.readout(self.dropout(nnx.relu(self.norm(self.up(x)))))


class LinenNormed(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.BatchNorm(use_running_average=not train, name="norm")(nn.Dense(self.width, name="up")(x))
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
        return nn.Dense(OUTPUTS, name="readout")(x)


class EquinoxNormed(eqx.Module):
    up: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    readout: eqx.nn.Linear

    def __init__(self, width, key):
        self.up = eqx.nn.Linear(INPUTS, width, key=key)
        self.norm = eqx.nn.BatchNorm(width, axis_name="batch", mode="batch")
        self.readout = eqx.nn.Linear(width, OUTPUTS, key=key)

    def __call__(self, x, state):
        x, state = self.norm(self.up(x), state)
        return self.readout(jax.nn.relu(x)), state


def equinox_normed(width, seed):
    return eqx.nn.make_with_state(EquinoxNormed)(width, jax.random.key(seed))


def equinox_call(model, state, x):
    batched = jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name="batch")
    return batched(x, state)


def haiku_normed(width):
    def forward(x):
        x = hk.BatchNorm(True, True, 0.9, name="norm")(hk.Linear(width, name="up")(x), is_training=True)
        x = hk.dropout(hk.next_rng_key(), 0.5, jax.nn.relu(x))
        return hk.Linear(OUTPUTS, name="readout")(x)

    return hk.transform_with_state(forward)


@pytest.mark.parametrize(
    ("build", "call"),
    [
        (lambda width, seed: NnxNormed(width, nnx.Rngs(seed)), None),
        (LinenNormed, None),
        (LinenNormed, lambda module, variables, x: module.apply(variables, x, train=False)),
        (equinox_normed, equinox_call),
        (haiku_normed, None),
    ],
    ids=["nnx", "linen", "linen_eval", "equinox", "haiku"],
)
def test_running_statistics_and_dropout(build, call):
    with jax.numpy_dtype_promotion("standard"):  # haiku's averages mix dtypes
        family = mupwd.family(build, base=BASE, inputs=(X,), call=call)
        made = family.init(TARGET)
    roles = {path: p.role for path, p in family.parameters.items()}
    expected = ["input", "vector", "vector", "vector", "output", "scalar"]
    assert sorted(roles.values()) == sorted(expected)
    assert {roles[path] for path in roles if path.startswith("norm")} == {"vector"}
    plan = family.plan(made)
    assert {p.lr for p in plan.values() if p.role == "output"} == {BASE / TARGET}


def test_the_whole_state_of_an_nnx_model_and_its_bare_arrays():
    family = mupwd.family(lambda width, seed: NnxNormed(width, nnx.Rngs(seed)), base=BASE, inputs=(X,))
    model = NnxNormed(TARGET, nnx.Rngs(0))
    assert family.plan(nnx.state(model)) == family.plan(TARGET)
    assert family.plan(nnx.to_pure_dict(nnx.state(model, nnx.Param))) == family.plan(TARGET)
    assert family.plan(nnx.as_pure(nnx.state(model, nnx.Param))) == family.plan(TARGET)


def test_linens_other_collections_are_no_parameters():
    family = mupwd.family(LinenNormed, base=BASE, inputs=(X,))
    variables = LinenNormed(TARGET).init(jax.random.key(0), jnp.zeros(X.shape))
    assert set(variables) == {"params", "batch_stats"}
    assert family.plan(variables) == family.plan(TARGET)


def test_linen_with_partitioned_parameters():
    class Partitioned(nn.Module):
        width: int

        @nn.compact
        def __call__(self, x):
            kernel = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
            return nn.Dense(OUTPUTS, name="readout")(nn.Dense(self.width, name="up", kernel_init=kernel)(x))

    family = mupwd.family(Partitioned, base=BASE, inputs=(X,))
    assert family.parameters["up/kernel"].role == "input"
    made = family.init(TARGET)
    assert isinstance(made["up"]["kernel"], nn.Partitioned)
    assert family.plan(nn.meta.unbox(made)) == family.plan(TARGET)


def test_haiku_without_keys_in_apply():
    family = mupwd.family(lambda w: hk.without_apply_rng(haiku_network(w)), base=BASE, inputs=(X,))
    assert family.parameters["hidden/w"].role == "matrix"


def test_python_scalars_among_the_inputs_are_flags():
    def build(width):
        fn, params = pair_network(width)
        return lambda params, x, double: fn(params, x) * 2 if double else fn(params, x), params

    assert mupwd.family(build, base=BASE, inputs=(X, True)).parameters["hidden/w"].role == "matrix"


def test_a_function_that_closes_over_arrays_of_its_build():
    def build(width):
        fn, params = pair_network(width)
        mask = jnp.tril(jnp.ones((4, 4)))
        return jax.jit(lambda params, x: mask @ fn(params, x)), params

    assert mupwd.family(build, base=BASE, inputs=(X,)).parameters["hidden/w"].role == "matrix"


def test_a_family_says_what_it_is(family):
    assert (
        repr(family)
        == "Family(base=32, delta=64, 6 parameters: 1 input, 1 matrix, 1 output, 1 scalar, 2 vector)"
    )
