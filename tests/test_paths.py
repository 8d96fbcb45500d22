"""One name per parameter, whatever holds it."""

from dataclasses import dataclass

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers.networks import NETWORKS, EquinoxNetwork, LinenNetwork, NnxNetwork, X
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

from mupwd.paths import map_named, named_leaves, path_name

KERNELS = [f"{name}/{kind}" for name in ("up", "hidden", "readout") for kind in ("kernel", "bias")]


def names(tree):
    return sorted(named_leaves(tree))


def noting():
    """A transform that notes the names of what it is given, and the notes."""
    seen = []

    def init(params):
        seen.append(names(params))
        return optax.EmptyState()

    def update(updates, state, params=None):
        seen.extend([names(updates), names(params)])
        return updates, state

    return seen, optax.GradientTransformation(init, update)


class TestNnx:
    model = NnxNetwork(8, nnx.Rngs(0))

    def test_state_pure_state_and_module(self):
        state = nnx.state(self.model, nnx.Param)
        assert names(state) == names(nnx.to_pure_dict(state)) == names(self.model) == sorted(KERNELS)

    def test_an_optimizer_gives_one_name_in_init_and_update(self):
        seen, tx = noting()
        model = NnxNetwork(8, nnx.Rngs(0))
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        optimizer.update(model, nnx.grad(lambda m: m(jnp.ones(X.shape)).sum())(model))
        assert len(seen) == 3
        assert all(found == sorted(KERNELS) for found in seen)

    def test_layers_in_a_list_and_parameters_named_as_ours(self):
        class Odd(nnx.Module):
            def __init__(self):
                self.params = nnx.Linear(2, 2, use_bias=False, rngs=nnx.Rngs(0))
                self.value = nnx.Param(jnp.ones(2))
                self.layers = nnx.List([nnx.Param(jnp.ones(2)), nnx.Param(jnp.ones(3))])

        model = Odd()
        assert names(model) == names(nnx.state(model)) == ["kernel", "layers/0", "layers/1", "value"]


class TestLinen:
    variables = LinenNetwork(8).init(jax.random.key(0), jnp.zeros(X.shape))

    def test_with_and_without_the_collection(self):
        assert names(self.variables) == names(self.variables["params"]) == sorted(KERNELS)

    def test_boxed_and_unboxed(self):
        class Boxed(nn.Module):
            @nn.compact
            def __call__(self, x):
                kernel = nn.with_partitioning(nn.initializers.ones, ("a", "b"))
                return nn.Dense(3, kernel_init=kernel, name="up")(x)

        boxed = Boxed().init(jax.random.key(0), jnp.zeros(X.shape))
        assert isinstance(boxed["params"]["up"]["kernel"], nn.Partitioned)
        assert names(boxed) == names(nn.meta.unbox(boxed)) == ["up/bias", "up/kernel"]


def test_equinox_with_leaves_that_are_no_arrays():
    model = EquinoxNetwork(8, jax.random.key(0))
    kernels = sorted(f"{name}/{kind}" for name in ("up", "hidden", "readout") for kind in ("weight", "bias"))
    assert names(model) == sorted([*kernels, "activation"])
    assert names(eqx.filter(model, eqx.is_array)) == kernels


def test_haikus_slashes_stay_inside_their_key():
    network = NETWORKS["haiku"]
    assert names(network.params(network.build(8))) == sorted(network.paths)
    nested = {"net/~/linear": {"w": 1}, "net": {"~": {"linear": {"w": 2}}}}
    assert names(nested) == ["net%2F~%2Flinear/w", "net/~/linear/w"]


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    w: float
    value: float


@jax.tree_util.register_pytree_node_class
class Keyless:
    def tree_flatten(self):
        return (1, 2), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls()


def test_plain_trees():
    assert named_leaves({"a": [1, (2, {"b": 3})]}) == {"a/0": 1, "a/1/0": 2, "a/1/1/b": 3}
    assert named_leaves({7: 1, 10: {3.5: 2, -1: 3}}) == {"7": 1, "10/-1": 3, "10/3.5": 2}
    assert named_leaves({("x", 1): 1}) == {"('x', 1)": 1}
    assert named_leaves([Layer(1, 2), Keyless(), None]) == {"0/w": 1, "0": 2, "1/0": 1, "1/1": 2}
    assert named_leaves({"": 1, "a": {"": 2}}) == {"": 1, "a/": 2}
    assert named_leaves(5) == {"": 5}
    assert named_leaves({}) == {}


def test_order_is_the_trees_own():
    assert list(named_leaves({"b": 1, "a": [2, 3]})) == ["a/0", "a/1", "b"]


@pytest.mark.parametrize(
    ("key", "name"),
    [("a/b", "a%2Fb"), ("a%b", "a%25b"), ("a%2Fb", "a%252Fb"), ("%2F/", "%252F%2F"), ("é~.", "é~.")],
)
def test_escapes(key, name):
    assert path_name((DictKey(key),)) == name


def test_what_is_dropped_and_what_is_not():
    drop = {
        (DictKey("params"), DictKey("w")): "w",
        (DictKey("params"),): "params",
        (DictKey("params"), GetAttrKey("value")): "params",
        (DictKey("a"), DictKey("params"), DictKey("w")): "a/params/w",
        (GetAttrKey("params"), GetAttrKey("w")): "w",
        (GetAttrKey("w"), GetAttrKey("value")): "w",
        (DictKey("w"), DictKey("value")): "w/value",
        (GetAttrKey("value"), GetAttrKey("w")): "value/w",
        (GetAttrKey("value"), GetAttrKey("value")): "value",
        (SequenceKey(0), FlattenedIndexKey(1)): "0/1",
    }
    assert {keys: path_name(keys) for keys in drop} == drop


def test_two_leaves_of_one_name():
    with pytest.raises(ValueError, match="two leaves of the tree are both named 'w'; rename one of the keys"):
        named_leaves({"params": {"w": 1}, "w": 2})


def test_map_named():
    tree = {"a": [1, 2], "b": {"c": 3}}
    assert map_named(lambda name, x: f"{name}={x}", tree) == {"a": ["a/0=1", "a/1=2"], "b": {"c": "b/c=3"}}
    shifted = map_named(lambda name, x, y: x + y if name.startswith("a") else y, tree, tree)
    assert shifted == {"a": [2, 4], "b": {"c": 3}}
    with pytest.raises(ValueError, match=r"structure|mismatch|keys"):
        map_named(lambda name, x, y: x, tree, {"a": [1], "b": {"c": 3}})


def test_map_named_keeps_the_wrappers():
    state = nnx.state(TestNnx.model, nnx.Param)
    doubled = map_named(lambda name, x: x * 2, state)
    assert jax.tree.structure(doubled) == jax.tree.structure(state)
    np.testing.assert_array_equal(
        named_leaves(doubled)["up/kernel"], 2 * np.asarray(named_leaves(state)["up/kernel"])
    )


keys = st.one_of(
    st.text(alphabet="ab/%25Fpv.~'[]0", max_size=6),
    st.sampled_from(["params", "value", "a/b", "a%2Fb"]),
).map(DictKey)
sequences = st.integers(0, 12).map(SequenceKey)
attributes = st.sampled_from(["w", "value", "params", "a"]).map(GetAttrKey)


def without_the_documented_drops(path):
    path = list(path)
    if path and path[-1] == GetAttrKey("value"):
        path.pop()
    if len(path) > 1 and path[0] in (DictKey("params"), GetAttrKey("params")):
        path.pop(0)
    # What a tree cannot hold side by side at one node: a key, an attribute and an index of one spelling.
    return [str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", None)))) for k in path]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(keys, sequences, attributes), min_size=1, max_size=4),
    st.lists(st.one_of(keys, sequences, attributes), min_size=1, max_size=4),
)
def test_names_are_equal_only_where_paths_are(one, other):
    mine, its = without_the_documented_drops(one), without_the_documented_drops(other)
    # No keys at all and one empty key are the one pair that a single tree cannot hold either.
    if mine != its and {tuple(mine), tuple(its)} != {(), ("",)}:
        assert path_name(tuple(one)) != path_name(tuple(other))
    else:
        assert path_name(tuple(one)) == path_name(tuple(other))
