"""On every layout the losses of one device; and no communication that optax's optimizer would not need."""

import jax
import numpy as np
import optax
import pytest
from helpers import transformer
from helpers.layouts import LAYOUTS, collectives

import mupwd
from mupwd.paths import map_named, named_leaves

# What differs from one device is the order of sums: 1e-7 of a gradient, of which Adam and Lion can make more where a
# gradient is near zero. It came to 2e-7 of the losses; the optimizer without the plan makes 0.2 of them.
TOLERANCE = 2e-5
STEPS = 5
NAMES = ["fsdp", "tensor", "data × tensor", "pipeline"]
FAMILY = transformer.family()
PLAN = FAMILY.plan(transformer.WIDTH)
PARAMS = FAMILY.init(transformer.WIDTH)
BATCHES = transformer.batches(STEPS)
OPTIMIZERS = {
    "mupwd.adamw": mupwd.adamw(1e-2, PLAN, weight_decay=0.1),
    "mupwd.wrap(optax.lion)": mupwd.wrap(optax.lion, PLAN)(1e-3, weight_decay=0.1),
}


def decays(params):
    return map_named(lambda name, _: PLAN[name].wd != 0, params)


def compiled_gradient(layout):
    params, batch = layout.shapes(PARAMS), layout.place_batch(BATCHES[0])
    return jax.jit(layout.value_and_grad(transformer.loss)).lower(params, batch).compile()


def train(layout, gradient, optimizers=OPTIMIZERS):
    """Losses by optimizer, the compiled program of the updates, and the state at the end."""

    def updates(gradients, states, params):  # of all optimizers at once: there is one program to compile
        moved = {
            name: tx.update(gradients[name], states[name], params[name]) for name, tx in optimizers.items()
        }
        states = {name: state for name, (_, state) in moved.items()}
        return {name: optax.apply_updates(params[name], step) for name, (step, _) in moved.items()}, states

    rows = LAYOUTS[layout.name]
    with jax.set_mesh(layout.mesh()):
        params = {name: layout.place(PARAMS) for name in optimizers}
        states = {name: layout.place(tx.init(PARAMS)) for name, tx in optimizers.items()}
        update = jax.jit(updates, donate_argnums=(1, 2)).lower(params, states, params).compile()
        losses = {name: [] for name in optimizers}
        for batch in BATCHES:
            gradients = {}
            for name, one in params.items():
                loss, found = gradient(jax.device_put(one, rows.shardings(one)), rows.place_batch(batch))
                gradients[name] = jax.device_put(found, layout.shardings(found))
                losses[name].append(float(loss))
            params, states = update(gradients, states, params)
    return losses, update, (params, states)


@pytest.fixture(scope="module")
def alone():
    layout = LAYOUTS["one device"]
    gradient = compiled_gradient(layout)
    return train(layout, gradient)[0], gradient


@pytest.fixture(scope="module", params=NAMES)
def runs(request):
    """On an Auto and on an Explicit mesh. XLA partitions the gradients on both, so that one program of them serves."""
    gradient = compiled_gradient(LAYOUTS[request.param])
    found = [layout for layout in LAYOUTS.values() if layout.name == request.param]
    return gradient, [(layout, *train(layout, gradient)) for layout in found]


def test_the_losses_are_those_of_one_device(runs, alone):
    expected = alone[0]
    for _, losses, _, _ in runs[1]:
        for name in OPTIMIZERS:
            assert expected[name][0] - expected[name][-1] > 0.5
            np.testing.assert_allclose(losses[name], expected[name], rtol=TOLERANCE)


def test_another_factor_would_be_seen(alone):
    expected, gradient = alone
    plain = {"mupwd.adamw": optax.adamw(1e-2, weight_decay=0.1, mask=decays)}
    with jax.numpy_dtype_promotion("standard"):
        losses = train(LAYOUTS["one device"], gradient, plain)[0]["mupwd.adamw"]
    assert np.max(np.abs(np.divide(losses, expected["mupwd.adamw"]) - 1)) > 1e-2


def test_the_updates_alone_need_no_communication(runs):
    gradient, found = runs
    assert collectives(gradient)
    assert [layout.explicit for layout, *_ in found] == [False, True]
    assert not any(collectives(update) for _, _, update, _ in found)


def test_parameters_and_optimizer_state_stay_where_they_were_put(runs):
    for layout, _, _, trees in runs[1]:
        for path, leaf in named_leaves(trees).items():
            assert leaf.sharding.is_equivalent_to(layout.sharding(leaf.shape), leaf.ndim), path
            if leaf.ndim:
                explicit = jax.typeof(leaf).sharding.mesh.explicit_axes
                assert explicit == (tuple(layout.axes) if layout.explicit else ()), path


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("name", ["fsdp", "data × tensor, explicit"])
def test_a_sharded_step_lowers_for_accelerators(name, platform):
    layout = LAYOUTS[name]
    gradient, tx = layout.value_and_grad(transformer.loss), OPTIMIZERS["mupwd.adamw"]

    def step(params, state, batch):
        loss, gradients = gradient(params, batch)
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    with jax.set_mesh(layout.mesh()):
        params, state = layout.shapes(PARAMS), layout.shapes(jax.eval_shape(tx.init, PARAMS))
        exported = jax.export.export(jax.jit(step), platforms=[platform])(
            params, state, layout.place_batch(BATCHES[0])
        )
    assert exported.platforms == (platform,)
    assert exported.nr_devices == 8
    placed = exported.in_shardings_jax(layout.mesh())[: len(jax.tree.leaves(PARAMS))]
    for sharding, leaf in zip(placed, jax.tree.leaves(PARAMS), strict=True):
        assert sharding.is_equivalent_to(layout.sharding(leaf.shape), leaf.ndim)
