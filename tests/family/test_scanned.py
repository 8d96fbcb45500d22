"""Layers that are scanned over and layers that are written out are one model: one plan, one trajectory."""

import re
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mupwd
from mupwd.paths import map_named, named_leaves

LAYERS, DEEP, INPUTS, OUTPUTS, BASE, TARGET = 2, 4, 5, 2, 8, 24
X = np.random.default_rng(0).normal(size=(4, INPUTS)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(4, OUTPUTS)).astype(np.float32)


@dataclass(frozen=True)
class Written:
    """A model in one of the two ways.

    Attributes:
      build: for `mupwd.family`, with `LAYERS` layers.
      params: makes those of a model of the target's width, with `DEEP` layers.
      fn: `fn(params, x)`.
      call: for `mupwd.family`.
    """

    build: Any
    params: Any
    fn: Any
    call: Any = None


# plain


def plain(scanned):
    def params_of(width, depth=LAYERS):
        keys = jax.random.split(jax.random.key(0), 2 + 2 * depth)
        kernel = lambda i, a, b: jax.random.normal(keys[i], (a, b)) / a**0.5  # noqa: E731
        layers = [
            {
                "gain": jnp.ones(width),
                "up": kernel(2 + 2 * i, width, 2 * width),
                "down": kernel(3 + 2 * i, 2 * width, width),
            }
            for i in range(depth)
        ]
        blocks = jax.tree.map(lambda *x: jnp.stack(x), *layers) if scanned else layers
        return {"first": kernel(0, INPUTS, width), "blocks": blocks, "readout": kernel(1, width, OUTPUTS)}

    def block(x, layer):
        return x + jax.nn.gelu((x * layer["gain"][None]) @ layer["up"]) @ layer["down"]

    def fn(params, x):
        x = x @ params["first"]
        if scanned:
            x, _ = jax.lax.scan(lambda x, layer: (block(x, layer), None), x, params["blocks"])
        else:
            for layer in params["blocks"]:
                x = block(x, layer)
        return x @ params["readout"]

    return Written(lambda width: (fn, params_of(width)), lambda: params_of(TARGET, DEEP), fn)


# linen


class LinenBlock(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, _=None):
        y = nn.gelu(nn.Dense(2 * self.width, name="up")(nn.RMSNorm(name="norm")(x)))
        return x + nn.Dense(self.width, use_bias=False, name="down")(y), None


class LinenStack(nn.Module):
    width: int
    scanned: bool
    depth: int = LAYERS

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.width, name="first")(x)
        if self.scanned:
            blocks = nn.scan(
                LinenBlock, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.depth
            )
            x, _ = blocks(self.width, name="blocks")(x, None)
        else:
            for i in range(self.depth):
                x, _ = LinenBlock(self.width, name=f"blocks_{i}")(x)
        return nn.Dense(OUTPUTS, use_bias=False, name="readout")(x)


def linen(scanned):
    model = LinenStack(TARGET, scanned, DEEP)
    return Written(
        lambda width: LinenStack(width, scanned), lambda: model.init(jax.random.key(0), X), model.apply
    )


# nnx


class NnxBlock(nnx.Module):
    def __init__(self, width, rngs):
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 2 * width, rngs=rngs)
        self.down = nnx.Linear(2 * width, width, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return x + self.down(nnx.gelu(self.up(self.norm(x))))


class NnxStack(nnx.Module):
    def __init__(self, width, rngs, scanned, depth):
        self.first = nnx.Linear(INPUTS, width, rngs=rngs)
        if scanned:
            make = nnx.vmap(lambda rngs: NnxBlock(width, rngs), in_axes=0, out_axes=0)
            self.blocks = nnx.split_rngs(splits=depth)(make)(rngs)
        else:
            self.blocks = nnx.List([NnxBlock(width, rngs) for _ in range(depth)])
        self.readout = nnx.Linear(width, OUTPUTS, use_bias=False, rngs=rngs)

    def __call__(self, x):
        x = self.first(x)
        if isinstance(self.blocks, NnxBlock):
            run = nnx.scan(lambda block, x: block(x), in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
            return self.readout(run(self.blocks, x))
        for block in self.blocks:
            x = block(x)
        return self.readout(x)


def flax_nnx(scanned):
    def build(width, depth=LAYERS):
        return NnxStack(width, nnx.Rngs(0), scanned, depth)

    graph, _ = nnx.split(nnx.eval_shape(lambda: build(TARGET, DEEP)))
    params = lambda: nnx.state(build(TARGET, DEEP), nnx.Param)  # noqa: E731
    return Written(build, params, lambda params, x: nnx.merge(graph, params)(x))


# equinox


class EquinoxBlock(eqx.Module):
    norm: eqx.nn.RMSNorm
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, width, key):
        keys = jax.random.split(key)
        self.norm = eqx.nn.RMSNorm(width)
        self.up = eqx.nn.Linear(width, 2 * width, key=keys[0])
        self.down = eqx.nn.Linear(2 * width, width, use_bias=False, key=keys[1])

    def __call__(self, x):
        return x + self.down(jax.nn.gelu(self.up(self.norm(x))))


class EquinoxStack(eqx.Module):
    first: eqx.nn.Linear
    blocks: Any
    readout: eqx.nn.Linear

    def __init__(self, width, scanned, depth=LAYERS):
        keys = jax.random.split(jax.random.key(0), 2 + depth)
        self.first = eqx.nn.Linear(INPUTS, width, key=keys[0])
        self.readout = eqx.nn.Linear(width, OUTPUTS, use_bias=False, key=keys[1])
        if scanned:
            self.blocks = eqx.filter_vmap(lambda key: EquinoxBlock(width, key))(keys[2:])
        else:
            self.blocks = [EquinoxBlock(width, key) for key in keys[2:]]

    def __call__(self, x):
        x = self.first(x)
        if isinstance(self.blocks, list):
            for block in self.blocks:
                x = block(x)
            return self.readout(x)
        arrays, rest = eqx.partition(self.blocks, eqx.is_array)
        x, _ = jax.lax.scan(lambda x, block: (eqx.combine(block, rest)(x), None), x, arrays)
        return self.readout(x)


def equinox(scanned):
    _, rest = eqx.partition(EquinoxStack(TARGET, scanned, DEEP), eqx.is_array)
    call = lambda model, x: jax.vmap(model)(x)  # noqa: E731
    return Written(
        lambda width: EquinoxStack(width, scanned),
        lambda: eqx.filter(EquinoxStack(TARGET, scanned, DEEP), eqx.is_array),
        lambda params, x: call(eqx.combine(params, rest), x),
        call,
    )


# haiku


def haiku(scanned):
    def transformed(width, depth=LAYERS):
        def block(x):
            y = hk.RMSNorm(-1, name="norm")(x)
            y = jax.nn.gelu(hk.Linear(2 * width, name="up")(y))
            return x + hk.Linear(width, with_bias=False, name="down")(y)

        def forward(x):
            x = hk.Linear(width, name="first")(x)
            if scanned:
                x = hk.experimental.layer_stack(depth, name="blocks")(block)(x)
            else:
                for i in range(depth):
                    with hk.experimental.name_scope(f"blocks_{i}"):
                        x = block(x)
            return hk.Linear(OUTPUTS, with_bias=False, name="readout")(x)

        return hk.without_apply_rng(hk.transform(forward))

    model = transformed(TARGET, DEEP)
    return Written(transformed, lambda: model.init(jax.random.key(0), X), model.apply)


FRAMEWORKS = {"plain": plain, "linen": linen, "nnx": flax_nnx, "equinox": equinox, "haiku": haiku}
_LAYER = re.compile(r"blocks[_/](\d+)")


def in_the_stack(path):
    """A written-out layer's parameter: its name in the scanned model, and its layer."""
    found = _LAYER.search(path)
    return (_LAYER.sub("blocks", path), int(found[1])) if found else (path, None)


@pytest.fixture(scope="module", params=FRAMEWORKS)
def pair(request):
    """The two models, with the same weights, and their families."""
    scanned, unrolled = models = [FRAMEWORKS[request.param](flag) for flag in (True, False)]
    params = jax.jit(scanned.params)()
    stacked = named_leaves(params)

    def value(path, leaf):
        name, layer = in_the_stack(path)
        return stacked[name] if layer is None else stacked[name][layer]

    same = map_named(value, jax.eval_shape(unrolled.params))
    models = [(model.fn, tree) for model, tree in zip(models, (params, same), strict=True)]
    return models, [
        mupwd.family(one.build, base=BASE, inputs=(X,), call=one.call) for one in (scanned, unrolled)
    ]


def deep_plans(models, families):
    """Of a recipe with factors in the forward pass, inside of the layers too."""
    return [
        family.plan(params, recipe="completep", depth_ratio=DEEP / LAYERS, form="forward")
        for (_, params), family in zip(models, families, strict=True)
    ]


def assert_same(scanned, unrolled):
    assert {in_the_stack(path)[0] for path in unrolled} == set(scanned)
    assert scanned.residual_scale == unrolled.residual_scale
    numbers = ("role", "m_in", "m_out", "lr", "wd", "eps", "init", "forward", "gradient", "gradient_size")
    for path in unrolled:
        name, layer = in_the_stack(path)
        for number in numbers:
            assert getattr(unrolled[path], number) == getattr(scanned[name], number), (path, number)
        assert unrolled[path].parameter.residual == scanned[name].parameter.residual
        assert scanned[name].stack_axes == (() if layer is None else (0,))


def test_one_plan(pair):
    models, families = pair
    for recipe in ("mupwd", "mup_linear"):
        assert_same(*(family.plan(TARGET, recipe=recipe) for family in families))
    deep = deep_plans(models, families)
    assert deep[0].residual_scale == LAYERS / DEEP
    assert_same(*deep)


def test_one_trajectory(pair):
    models, families = pair
    results = []
    for (fn, params), plan in zip(models, deep_plans(models, families), strict=True):
        fn = mupwd.apply_forward(fn, plan)
        tx = optax.chain(mupwd.clip_by_global_norm(0.1, plan), mupwd.adamw(0.01, plan, weight_decay=0.3))

        @jax.jit
        def step(params, state, fn=fn, tx=tx):
            value, gradients = jax.value_and_grad(lambda params: jnp.mean((fn(params, X) - Y) ** 2))(params)
            updates, state = tx.update(gradients, state, params)
            return optax.apply_updates(params, updates), state, value

        state, values = tx.init(params), []
        for _ in range(4):
            params, state, value = step(params, state)
            values.append(float(value))
        results.append((values, named_leaves(params)))
    (losses, stacked), (losses_unrolled, written_out) = results
    np.testing.assert_allclose(losses_unrolled, losses, rtol=1e-5)
    assert losses[-1] < losses[0]
    for path in written_out:
        name, layer = in_the_stack(path)
        wanted = stacked[name] if layer is None else stacked[name][layer]
        np.testing.assert_allclose(written_out[path], wanted, rtol=1e-3, atol=1e-5, err_msg=path)
