"""Layers on stages of a pipeline: in one program by `shard_map` and `ppermute`, and on devices of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import transformer
from helpers.layouts import LAYOUTS, collectives
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import mupwd

STAGES, MICROBATCHES, STEPS = 4, 4, 3
TOLERANCE = 2e-5  # as in test_layouts.py
FAMILY = transformer.family()
PLAN = FAMILY.plan(transformer.WIDTH)
PARAMS = FAMILY.init(transformer.WIDTH)
BATCHES = transformer.batches(STEPS)
TX = mupwd.adamw(1e-2, PLAN, weight_decay=0.1)


def run_layers(layers, x):
    return jax.lax.scan(lambda x, layer: (transformer.block(x, layer), None), x, layers)[0]


def stage(layers, x_MxBxTxD):
    """What one stage does: at each tick one microbatch, which it hands to the next stage."""
    me, last = jax.lax.axis_index("stage"), STAGES - 1
    x_MxBxTxD = jax.lax.pcast(x_MxBxTxD, "stage", to="varying")

    def tick(carry, time):
        received, done = carry
        mine = jnp.where(me == 0, x_MxBxTxD[jnp.minimum(time, MICROBATCHES - 1)], received)
        y = run_layers(layers, mine)
        done = jnp.where((me == last) & (time >= last), done.at[jnp.maximum(time - last, 0)].set(y), done)
        return (jax.lax.ppermute(y, "stage", [(i, i + 1) for i in range(last)]), done), None

    start = jnp.zeros_like(x_MxBxTxD[0]), jnp.zeros_like(x_MxBxTxD)
    (_, done), _ = jax.lax.scan(tick, start, jnp.arange(MICROBATCHES + last))
    return jax.lax.psum(jnp.where(me == last, done, jnp.zeros_like(done)), "stage")


def pipelined_loss(params, tokens):
    x = params["embed"][tokens[:, :-1]]
    parts = x.reshape(MICROBATCHES, -1, *x.shape[1:])
    done = jax.shard_map(stage, in_specs=(P("stage"), P()), out_specs=P())(params["layers"], parts)
    return transformer.cross_entropy(done.reshape(x.shape) @ params["readout"], tokens[:, 1:])


@jax.jit
def update(gradients, state, params):
    updates, state = TX.update(gradients, state, params)
    return optax.apply_updates(params, updates), state


@pytest.fixture(scope="module")
def gradient():
    """Of the whole model, on one device; the program of test_layouts.py, so that it is compiled once."""
    return jax.jit(LAYOUTS["one device"].value_and_grad(transformer.loss))


@pytest.fixture(scope="module")
def expected(gradient):
    """The losses of one device."""
    params, state, losses = PARAMS, TX.init(PARAMS), []
    for tokens in BATCHES:
        loss, gradients = gradient(params, tokens)
        params, state = update(gradients, state, params)
        losses.append(float(loss))
    return losses


def test_stages_of_one_program(expected):
    mesh = jax.make_mesh((STAGES,), ("stage",), axis_types=(AxisType.Auto,), devices=jax.devices()[:STAGES])

    def place(tree):
        stacked = lambda leaf: leaf.ndim > 2  # noqa: E731 - all that the layers have, and their moments
        return jax.tree.map(
            lambda leaf: jax.device_put(leaf, NamedSharding(mesh, P("stage") if stacked(leaf) else P())), tree
        )

    with jax.set_mesh(mesh):
        params, state, losses = place(PARAMS), place(TX.init(PARAMS)), []
        gradient = jax.jit(jax.value_and_grad(pipelined_loss)).lower(params, BATCHES[0]).compile()
        moved = update.lower(params, state, params).compile()
        for tokens in BATCHES:
            loss, gradients = gradient(params, tokens)
            params, state = moved(place(gradients), state, params)
            losses.append(float(loss))
    assert collectives(gradient)["collective-permute"]
    assert not collectives(moved)
    assert params["layers"]["up"].addressable_shards[0].data.shape[0] == 1
    np.testing.assert_allclose(losses, expected, rtol=TOLERANCE)


def test_parts_of_the_parameters_on_devices_of_their_own(gradient, expected):
    """As where the stages are programs of their own: each has its own part of the optimizer."""
    parts = {jax.devices()[1]: ("embed", "layers"), jax.devices()[2]: ("readout",)}
    held = {
        device: jax.device_put({name: PARAMS[name] for name in names}, device)
        for device, names in parts.items()
    }
    states = {device: jax.device_put(TX.init(part), device) for device, part in held.items()}
    losses = []
    for tokens in BATCHES:
        whole = {name: part[name] for device, part in held.items() for name in parts[device]}
        loss, gradients = gradient(jax.device_put(whole, jax.devices()[0]), tokens)
        for device, names in parts.items():
            mine = jax.device_put({name: gradients[name] for name in names}, device)
            held[device], states[device] = update(mine, states[device], held[device])
        losses.append(float(loss))
    assert all(leaf.devices() == {device} for device in parts for leaf in jax.tree.leaves(held[device]))
    np.testing.assert_allclose(losses, expected, rtol=TOLERANCE)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_the_pipeline_lowers_for_accelerators(platform):
    mesh = jax.make_mesh((STAGES,), ("stage",), axis_types=(AxisType.Auto,), devices=jax.devices()[:STAGES])

    def step(params, state, tokens):
        updates, state = TX.update(jax.grad(pipelined_loss)(params, tokens), state, params)
        return optax.apply_updates(params, updates), state

    with jax.set_mesh(mesh):
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, P())),
            (PARAMS, TX.init(PARAMS), BATCHES[0]),
        )
        exported = jax.export.export(jax.jit(step), platforms=[platform])(*shapes)
    assert exported.platforms == (platform,)
    assert exported.nr_devices == STAGES
    assert "collective_permute" in exported.mlir_module()
