"""A step with mupwd.adamw needs the memory of the step with optax.adamw, whatever is around the optimizer."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
import pytest
from helpers import toys
from helpers.layouts import LAYOUTS, collectives

import mupwd
from mupwd.paths import map_named

# Wide enough that one copy of the parameters is far more than all else of a step.
TOY = toys.plain(width=256)
PLAN = TOY.plan()
ARGUMENTS = {"learning_rate": 1e-2, "weight_decay": 0.1}


def ours(clip):
    links = [mupwd.clip_by_global_norm(0.05, PLAN)] if clip else []
    return optax.chain(*links, mupwd.adamw(plan=PLAN, **ARGUMENTS))


def theirs(clip):
    links = [optax.clip_by_global_norm(0.05)] if clip else []
    decays = partial(map_named, lambda name, _: PLAN[name].wd != 0)
    return optax.chain(*links, optax.adamw(mask=decays, **ARGUMENTS))


def every_batch(layout, tx):
    """One batch, one update."""
    gradient = layout.value_and_grad(TOY.loss)

    def step(params, state, batch):
        loss, gradients = gradient(params, batch)
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    return step, tx


def accumulated(layout, tx):
    """`optax.MultiSteps`: two calls, one update."""
    return every_batch(layout, optax.MultiSteps(tx, every_k_schedule=2).gradient_transformation())


def scanned(layout, tx):
    """A scan over two microbatches, one update."""
    gradient = layout.value_and_grad(TOY.loss)

    def step(params, state, batch):
        halves = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), batch)

        def add(total, half):
            loss, gradients = gradient(params, half)
            return jax.tree.map(jnp.add, total, gradients), loss

        gradients, losses = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), halves)
        updates, state = tx.update(jax.tree.map(lambda g: g / 2, gradients), state, params)
        return optax.apply_updates(params, updates), state, losses.mean()

    return step, tx


def mixed(layout, tx):
    """bfloat16 in the loss, float32 in parameters, gradients and moments."""

    def loss(params, batch):
        return TOY.loss(*jax.tree.map(lambda x: x.astype(jnp.bfloat16), (params, batch))).astype(jnp.float32)

    gradient = layout.value_and_grad(loss)

    def step(params, state, batch):
        loss, gradients = gradient(params, batch)
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    return step, tx


def compiled(kind, layout, tx):
    with jax.set_mesh(layout.mesh()), jax.numpy_dtype_promotion("standard"):  # MultiSteps counts in int32
        step, tx = kind(layout, tx)
        params = layout.shapes(TOY.params)
        state = layout.shapes(jax.eval_shape(tx.init, params))
        # Without shardings of the results XLA might choose others, and could not use what is donated.
        out = layout.shardings(params), layout.shardings(state), None
        batch = layout.place_batch(toys.batches(1)[0])
        return jax.jit(step, donate_argnums=(0, 1), out_shardings=out).lower(params, state, batch).compile()


CASES = [
    (every_batch, "data × tensor, explicit"),
    (accumulated, "fsdp"),
    (scanned, "fsdp"),
    (mixed, "fsdp"),
]


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind.__name__}, {name}" for kind, name in CASES])
def test_a_step_needs_what_optax_needs(kind, name):
    layout = LAYOUTS[name]
    # With the clip in every case but one, as it has communication of its own.
    mine, other = (compiled(kind, layout, tx(kind is not mixed)) for tx in (ours, theirs))
    assert collectives(mine) == collectives(other)
    assert collectives(mine)
    a, b = mine.memory_analysis(), other.memory_analysis()
    assert a.temp_size_in_bytes <= b.temp_size_in_bytes
    assert a.argument_size_in_bytes == b.argument_size_in_bytes
    assert a.output_size_in_bytes == b.output_size_in_bytes
    assert a.alias_size_in_bytes == b.alias_size_in_bytes
    # Parameters and both moments are updated in place; only the loss is new.
    held = layout.sharding(TOY.params["hidden"]["kernel"].shape).shard_shape((256, 256))
    assert a.alias_size_in_bytes >= 3 * 4 * held[0] * held[1]
    assert a.output_size_in_bytes - a.alias_size_in_bytes < 1024
