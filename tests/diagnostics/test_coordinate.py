"""The coordinate check on small networks of every framework, with hooks, growing head_dim and odd set-ups."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.coordinates import Bench
from helpers.networks import INPUTS, NETWORKS, OUTPUTS, X

import mupwd
from mupwd import recipes

ROWS = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
TARGETS = 4 * np.random.default_rng(1).normal(size=(8, 16)).astype(np.float32)

WIDTHS = (32, 64, 128)


def square(outputs, targets):
    return jnp.mean((outputs - targets) ** 2)


def normal(seed, shapes):
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {
        name: jax.random.normal(key, shape) * shape[0] ** -0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def mlp(width, seed, inner=lambda width: 2 * width):
    def fn(params, x):
        x = jax.nn.relu(x @ params["in"] + params["bias"][None])
        x = x + jax.nn.relu(x @ params["up"]) @ params["down"]
        return x @ params["out"]

    hidden = inner(width)
    sizes = {"in": (8, width), "up": (width, hidden), "down": (hidden, width), "out": (width, 16)}
    return fn, normal(seed, sizes) | {"bias": jnp.zeros(width)}


def rectangular_mlp(width, seed):
    """Its inner size is the width squared: fan-in and fan-out grow at different rates."""
    return mlp(width, seed, lambda width: width**2 // 16)


def attention(width, seed):
    """One head, whose dimension is the width."""

    def fn(params, x):
        x = x @ params["in"]
        x = x / jnp.sqrt(jnp.mean(x * x, axis=-1, keepdims=True))
        q, k, v = (x @ params[name] for name in "qkv")
        y = jax.nn.softmax(q @ k.T * width**-0.5, axis=-1) @ v
        return (x + y @ params["o"]) @ params["out"]

    square = dict.fromkeys("qkvo", (width, width))
    return fn, normal(seed, {"in": (8, width), "out": (width, 16)} | square)


@pytest.fixture(scope="module")
def family():
    return mupwd.family(mlp, base=32, inputs=(ROWS,))


@pytest.fixture(scope="module")
def rectangular():
    family = mupwd.family(rectangular_mlp, base=32, inputs=(ROWS,))
    return Bench(family, (ROWS, TARGETS), square, learning_rate=1e-3, widths=WIDTHS, steps=3)


def test_sides_that_grow_at_different_rates(rectangular):
    check = rectangular.check()
    assert check.verdict == "pass", str(check)
    assert [line.quantity for line in check["bias"]] == ["change"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("up", {"initial gain": -0.5, "change": -1}), ("down", {"initial gain": 0.5, "change": 1})],
)
def test_fan_out_for_fan_in(rectangular, path, expected):
    def swapped(exponent):
        return {path: lambda planned: (planned.m_out / planned.m_in) ** -exponent}

    check = rectangular.check(init=swapped(0.5), lr=swapped(1))
    assert check.failed == [path], str(check)
    assert {line.quantity: line.exponent for line in check[path]} == pytest.approx(expected, abs=0.2)


def test_a_bias_whose_learning_rate_is_scaled(rectangular):
    assert rectangular.check(lr={"bias": lambda planned: 1 / planned.m_out}).failed == ["bias"]


def head(family, recipe, form):
    return mupwd.coordinate_check(
        family,
        (ROWS, TARGETS),
        square,
        recipe=recipe,
        form=form,
        learning_rate=1e-3,
        widths=WIDTHS,
        steps=2,
    )


def test_attention_scale_where_head_dim_grows():
    # The plan's own factor on the logits is applied in forward form.
    family = mupwd.family(attention, base=32, inputs=(ROWS,))
    right = head(family, "mupwd", "forward")
    assert right.verdict == "pass", str(right)
    assert right.lines[-1].path.startswith("logits at test_coordinate.py:")
    # A recipe that leaves the logits as the model has them: 1 / sqrt(head_dim).
    left = dataclasses.replace(recipes.get("mupwd"), name="as the model has it", logits=None)
    wrong = head(family, left, "folded")
    assert wrong.failed == [right.lines[-1].path], str(wrong)
    assert wrong.lines[-1].exponent == pytest.approx(0, abs=0.2)
    assert "divided by head_dim, not by its square root" in str(wrong)


@pytest.mark.parametrize("recipe", ["mupwd", "mup"])
def test_an_epsilon_that_is_not_scaled_but_felt(family, recipe):
    check = mupwd.coordinate_check(
        family,
        (ROWS, TARGETS),
        square,
        recipe=recipe,
        form="forward",
        optimizer=lambda plan: mupwd.adamw(1e-3, plan, eps=0.1),
        widths=WIDTHS,
        seeds=8 if recipe == "mupwd" else 2,
        steps=1,
    )
    # mup leaves eps alone, as its original does.
    changes = {line.path: line.verdict for line in check.lines if line.quantity == "change"}
    expected = dict.fromkeys(changes, "pass" if recipe == "mupwd" else "fail")
    assert changes == expected, str(check)


def test_decay_that_is_scaled_with_the_update_is_invisible_here(family):
    def post_scaled(plan):
        """The trap: the finished update of optax.adamw, decay and all, times the learning rate's factor."""
        decays = lambda params: mupwd.paths.map_named(lambda path, _: plan[path].wd > 0, params)  # noqa: E731
        factors = mupwd.scale_by_plan_learning_rate(1.0, plan, flip_sign=False)
        return optax.chain(optax.adamw(1e-3, weight_decay=1.0, mask=decays), factors)

    with jax.numpy_dtype_promotion("standard"):  # as optax.adamw needs it
        check = mupwd.coordinate_check(
            family, (ROWS, TARGETS), square, optimizer=post_scaled, widths=WIDTHS, steps=2
        )
    assert check.verdict == "pass", str(check)
    assert "steady-state check" in str(check)


@pytest.mark.parametrize("framework", NETWORKS)
def test_frameworks(framework):
    network = NETWORKS[framework]
    family = mupwd.family(network.build, base=32, inputs=(X,), call=network.call)
    rng = np.random.default_rng(0)
    batch = (
        rng.normal(size=(16, INPUTS)).astype(np.float32),
        rng.normal(size=(16, OUTPUTS)).astype(np.float32),
    )
    with jax.numpy_rank_promotion("allow"):  # the frameworks add their biases so
        check = mupwd.coordinate_check(
            family, batch, square, learning_rate=1e-3, widths=WIDTHS, seeds=1, steps=1
        )
    measured = {(network.paths[line.path], line.quantity) for line in check.lines}
    weights = {
        (name, quantity) for name in ("up", "hidden", "readout") for quantity in ("initial gain", "change")
    }
    assert measured == weights | {(f"{name}_bias", "change") for name in ("up", "hidden", "readout")}
    assert check.failed == [], str(check)
    assert all(line.exponent is not None for line in check.lines)
