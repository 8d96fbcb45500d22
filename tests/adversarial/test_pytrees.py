"""Any tree, any shape, any dtype, any name: a plan of it is right, or an error names the parameter."""

import json
from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mupwd
from mupwd.diagnostics import metrics
from mupwd.paths import named_leaves, path_name, pattern_of
from mupwd.plan import PlanError
from mupwd.recipes import fitted
from mupwd.tracing import trace_axes

FLOATS = ["float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "complex64"]
PASSIVE = ["int8", "int32", "bool", "uint8"]
HOSTILE = [
    "",
    " ",
    "a/b",
    "a%2Fb",
    "..",
    "a\nb",
    "\x1b[2J\x1b[31mred",
    "a\u202eb",
    "\ud800",
    "\0",
    "a(b[.*+",
    "{x}",
    "12",
    "1" * 5000,
    "٣",
    "x" * 10_000,
    "params",
    "value",
    "layers/*/w",
    "a[0]",
    "ключ🦙",
]


class Leaf(NamedTuple):
    """Per axis its size and whether it is times the width; and a dtype."""

    axes: tuple[tuple[int, bool], ...]
    dtype: str

    def at(self, width):
        return jax.ShapeDtypeStruct(tuple(n * width if grows else n for n, grows in self.axes), self.dtype)

    def statement(self):
        grown = sum(grows for _, grows in self.axes)
        if grown < 2:
            return ("vector:" if grown else "scalar:") + " elementwise" * len(self.axes)
        words = iter(["in", *["out"] * grown])
        return "matrix: " + " ".join(next(words) if grows else "stack" for _, grows in self.axes)


class Pair(NamedTuple):
    left: Any
    value: Any


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    value: Any
    params: Any


@st.composite
def leaves(draw):
    axes = draw(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=8))
    return Leaf(
        tuple((max(n, 1), g) if g else (n, g) for n, g in axes), draw(st.sampled_from(FLOATS + PASSIVE))
    )


def containers(inside):
    names = st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=3)
    return st.one_of(
        st.dictionaries(names, inside, max_size=4),
        st.dictionaries(st.integers(-1, 12), inside, max_size=3),
        st.lists(inside, max_size=3),
        st.tuples(inside, inside),
        st.builds(Pair, inside, inside),
        st.builds(Layer, inside, inside),
    )


TREES = st.recursive(leaves() | st.none(), containers, max_leaves=6)


def is_leaf(node):
    return isinstance(node, Leaf)


def at(tree, width):
    return jax.tree.map(lambda one: one.at(width), tree, is_leaf=is_leaf)


def passive_hidden(tree):
    """As equinox and optax hide what no optimizer moves."""
    return jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, np.inexact) else None, tree)


@settings(max_examples=60)
@given(TREES)
def test_any_tree_of_parameters(tree):
    flat = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)[0]
    names = [path_name(path) for path, _ in flat]
    if len(set(names)) < len(names):
        with pytest.raises(ValueError, match="two leaves of the tree are both named"):
            named_leaves(at(tree, 4))
        return
    assert all(name.isprintable() or not any(map(_unseen, name)) for name in names)
    moved = {n: one for n, (_, one) in zip(names, flat, strict=True) if one.dtype in FLOATS}
    statements = {pattern_of(name): one.statement() for name, one in moved.items()}
    small, large, target = (passive_hidden(at(tree, width)) for width in (4, 8, 12))
    if (
        isinstance(tree, dict) and "params" in tree
    ):  # linen's variables: the other collections are no parameters
        return
    if not any(grows for one in moved.values() for _, grows in one.axes):
        with pytest.raises(mupwd.TraceError, match=r"no parameter changes its shape|matches no parameter"):
            mupwd.family_from_shapes(small, large, axes=statements)
        return
    plan = mupwd.family_from_shapes(small, large, axes=statements).plan(target)

    assert set(plan) == set(moved)
    for name, one in moved.items():
        assert plan[name].shape == one.at(12).shape
        assert plan[name].lr == (1 / 3 if plan[name].role == "matrix" else 1)
        assert plan.explain(name).splitlines()[0].startswith(name or '""')
    lines = str(plan).splitlines()
    assert all(len(line) <= 120 for line in lines)
    assert not any(map(_unseen, "".join(lines)))
    assert mupwd.Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    _trains(plan, target)


def _unseen(character):
    return character != "\n" and (
        ord(character) < 32 or character in "\x7f\u202e\u2028" or 0xD800 <= ord(character) < 0xE000
    )


def _trains(plan, target):
    """The shapes and dtypes of two optimizers' steps are those of optax's."""
    pairs = [
        (mupwd.adamw(0.1, plan), optax.adamw(0.1)),
        (mupwd.wrap(optax.lion, plan)(0.1), optax.lion(0.1)),
    ]
    for ours, theirs in pairs:
        with jax.numpy_dtype_promotion("standard"):
            found, expected = (
                jax.eval_shape(lambda params, tx=tx: tx.update(params, tx.init(params), params), target)
                for tx in (ours, theirs)
            )
        assert jax.tree.map(str, found[0]) == jax.tree.map(str, expected[0])
    tracker = mupwd.track_spectrum(plan, k=1)
    if any("complex" in p.dtype and p.role == "matrix" and prod(p.shape) for p in plan.values()):
        with pytest.raises(PlanError, match="real matrices only"):
            tracker.init(target)
    else:
        found = {name for name in metrics(tracker.init(target)) if name.endswith("sigma_1")}
        assert len(found) == _matrices(plan)


def _matrices(plan):
    found = 0
    for p in plan.values():
        if p.role == "matrix" and prod(p.shape):
            found += prod(p.shape[axis] for axis in p.stack_axes)
    return found


@pytest.mark.parametrize(
    "tree",
    [
        {"params": {"a": 1}, "a": 2},
        OrderedDict([("1", 1), (1, 2)]),
        Pair(Pair(1, 2), {"left": 3, "value": Pair(4, 5)}),
    ],
    ids=["linen", "digits", "value"],
)
def test_two_parameters_never_share_a_name(tree):
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    names = [path_name(path) for path, _ in flat]
    if len(set(names)) == len(names):
        assert len(named_leaves(tree)) == len(flat)
    else:
        with pytest.raises(ValueError, match="two leaves of the tree are both named"):
            named_leaves(tree)


def test_slashes_do_not_make_two_names_one():
    assert list(named_leaves({"a/b": 1, "a": {"b": 2}, "a%2Fb": 3})) == ["a/b", "a%252Fb", "a%2Fb"]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a\nb", "a%0Ab"),
        ("\x1b[31mred", "%1B[31mred"),
        ("a\u202eb", "a%E2%80%AEb"),
        ("\ud800", "%ED%A0%80"),
        ("\u2028", "%E2%80%A8"),
        ("\0", "%00"),
        ("ключ 🦙", "ключ 🦙"),
    ],
)
def test_what_cannot_be_seen_is_written_out(key, name):
    assert list(named_leaves({key: 0})) == [name]
    assert name.isprintable()


def square(names, dtype=jnp.float32):
    return lambda width: {name: jnp.ones((width, width), dtype) for name in names}


def planned(shapes, axes, width=16, **options):
    return mupwd.family_from_shapes(shapes(4), shapes(8), axes=axes).plan(shapes(width), **options)


def test_names_that_look_like_regular_expressions():
    """The override that a message tells to write is one that works."""
    with pytest.raises(mupwd.TraceError) as caught:
        planned(square(["w.x[0]", "wyx[0]"]), {"wyx\\[0\\]": "in out"})
    assert r"axes={'w\\.x\\[0\\]': 'in out'}" in str(caught.value)
    planned(square(["w.x[0]", "wyx[0]"]), {r"w\.x\[0\]": "in out", "wyx\\[0\\]": "in out"})
    with pytest.raises(PlanError) as caught:
        planned(square(["w[0]"]), {".*": "in out"}, recipe=fitted({"w[0]": 0.8}))
    assert r"such as 'w\\[0\\]'" in str(caught.value)


def test_a_copy_and_a_parameter_of_one_name():
    def shapes(width):
        return {"a": jnp.ones((2, width, width)), "a[1]": jnp.ones((width, width))}

    plan = planned(shapes, {"a": "stack in out", r"a\[1\]": "in out"})
    for wrong in (
        lambda: mupwd.track_spectrum(plan).init(shapes(16)),
        lambda: mupwd.spectrum(shapes(16), plan),
    ):
        with pytest.raises(PlanError, match=r"a\[1\] is a parameter, and copy 1 of the stack a is reported"):
            wrong()


def test_singular_values_of_complex_matrices_are_refused():
    """Their imaginary parts were dropped without a word."""
    plan = planned(square(["z"], jnp.complex64), {"z": "in out"})
    params = {"z": jnp.full((16, 16), 1j)}
    for wrong in (lambda: mupwd.spectrum(params, plan), lambda: mupwd.track_spectrum(plan).init(params)):
        with pytest.raises(
            PlanError, match=r"^z is complex64: singular values are computed of real matrices only"
        ):
            wrong()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
def test_singular_values_of_every_float(dtype):
    plan = planned(square(["w"], dtype), {"w": "in out"}, width=4)
    found = mupwd.spectrum(square(["w"], dtype)(4), plan, k=1)["w"]
    assert float(found.sigma[0]) == pytest.approx(4.0)


def test_leaves_that_no_optimizer_moves_are_named_as_such():
    plan = planned(square(["w"]), {"w": "in out"})
    tree = square(["w"])(16) | {"key": jax.random.key(0), "table": jnp.arange(3), "name": "text"}
    with pytest.raises(PlanError) as caught:
        mupwd.adamw(1e-3, plan).init(tree)
    message = str(caught.value)
    for what in (
        "key (of dtype key<fry>, which no",
        "table (of dtype int32, which no",
        "name (str, which no",
    ):
        assert what in message


def test_an_axis_that_is_empty_at_base():
    def shapes(width):
        return {"w": jnp.ones((width, width)), "z": jnp.ones((width - 4, width))}

    with pytest.raises(PlanError, match=r"z, axis 0: 0 elements at base and 12 at the target have no ratio"):
        planned(shapes, {".*": "in out"})


@pytest.mark.parametrize("name", ["novograd", "fromage"])
def test_an_empty_parameter_has_no_norm(name):
    def shapes(width):
        return {"w": jnp.ones((width, width)), "z": jnp.ones((0, 2))}

    params = shapes(16)
    tx = mupwd.wrap(getattr(optax, name), planned(shapes, {"w": "in out"}))(0.1)
    assert bool(jnp.isfinite(tx.update(params, tx.init(params), params)[0]["w"]).all())


def test_nothing_at_all():
    plan = planned(square(["w"]), {"w": "in out"})
    for tx in (mupwd.adamw(0.1, plan), mupwd.clip_by_global_norm(1.0, plan)):
        assert tx.update({}, tx.init({}), {})[0] == {}
    assert mupwd.spectrum({}, plan) == {}
    assert metrics(mupwd.track_spectrum(plan).init({})) == {}
    with pytest.raises(mupwd.TraceError, match="no parameter changes its shape"):
        mupwd.family_from_shapes({}, {}, axes={})


def test_a_trillion_parameters():
    def shapes(width):
        return {f"w{i}": jax.ShapeDtypeStruct((width, width), jnp.bfloat16) for i in range(4)}

    params = shapes(2**19)
    assert sum(prod(one.shape) for one in params.values()) > 1e12
    plan = mupwd.family_from_shapes(shapes(256), shapes(512), axes={".*": "in out"}).plan(params)
    for tx in (mupwd.adamw(0.1, plan), mupwd.wrap(optax.contrib.muon, plan)(0.1)):
        state = jax.eval_shape(tx.init, params)
        updates, _ = jax.eval_shape(tx.update, params, state, params)
        assert jax.tree.map(lambda one: (one.shape, one.dtype), updates) == jax.tree.map(
            lambda one: (one.shape, one.dtype), params
        )
    assert "524288" in str(plan)


ODD = {"first": "a\nb", "second": "", "third": "x.y[0]"}


def build(width):
    def fn(params, x):
        x = jnp.tanh(x @ params[ODD["first"]]["w"])
        return jnp.tanh(x @ params[ODD["second"]]) @ params[ODD["third"]]

    sizes = {ODD["second"]: (width, width), ODD["third"]: (width, 2)}
    made = {name: jnp.full(shape, 0.1) for name, shape in sizes.items()}
    return fn, made | {ODD["first"]: {"w": jnp.full((3, width), 0.1)}, "table": jnp.arange(3), "hole": None}


def test_a_program_whose_parameters_have_odd_names():
    x = jnp.ones((5, 3))
    family = mupwd.family(build, base=4, inputs=(x,))
    roles = {path: parameter.role for path, parameter in family.parameters.items()}
    assert roles == {"": "matrix", "a%0Ab/w": "input", "x.y[0]": "output"}
    plan = family.plan(16, form="forward")
    fn, params = build(16)
    np.testing.assert_allclose(mupwd.apply_forward(fn, plan)(params, x), fn(params, x) / 4, rtol=1e-6)
    assert set(mupwd.diagnostics.instrument(fn)(params, x)[1]) == set(plan)
    assert trace_axes(fn, params, x)["a%0Ab/w"].axes == (("in", "out"),)
    assert plan.fold(params)["x.y[0]"][0, 0] == pytest.approx(0.025)
