"""The folded and the forward form of a plan are one training run, clipped or not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import toys

from mupwd.optim import adamw, clip_by_global_norm
from mupwd.paths import map_named

STEPS, MAX_NORM = 200, 0.05


@functools.cache
def toy(width: int) -> toys.Toy:
    return toys.plain(width)


def train(width, recipe, form, clip):
    """A run from the rule's initial values, in a model that applies the factors which the plan leaves to it.

    Returns:
      its losses, and its last parameters, in the units of the forward form.
    """
    plan = toy(width).plan(recipe, form)
    as_it_is, forward = toy(width).plan(recipe, "forward"), plan.forward
    tx = adamw(1e-2, plan, weight_decay=1.0, eps=1e-4, eps_root=1e-8)
    tx = {
        "none": tx,
        "mupwd": optax.chain(clip_by_global_norm(MAX_NORM, plan), tx),
        "optax": optax.chain(optax.clip_by_global_norm(MAX_NORM), tx),
    }[clip]
    ratios = {name: plan[name].init / as_it_is[name].init for name in plan}
    start = map_named(lambda name, w: w * ratios[name], toy(width).params)
    x, y = (jnp.asarray(np.concatenate(part)) for part in zip(*toys.batches(2), strict=True))

    def loss(params):
        h = jnp.tanh(x @ params["up"]["kernel"] + params["up"]["bias"][None, :])
        h = jnp.tanh(h @ params["hidden"]["kernel"])
        out = (h @ params["readout"]["kernel"]) * forward.get("readout/kernel", 1.0)
        return toys.square_error(out, y)

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            value, gradients = jax.value_and_grad(loss)(params)
            updates, state = tx.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), (value, optax.tree.norm(gradients))

        return jax.lax.scan(step, (params, tx.init(params)), None, length=STEPS)

    (last, _), (values, norms) = run(start)
    assert values[-1] < 0.9 * values[0], "the run is to learn something"
    # Of the forward form, whose threshold is the one that is meant.
    if clip != "none" and form == "forward":
        assert np.any(norms > MAX_NORM), "the threshold is to be low enough to clip"
    return np.asarray(values), map_named(lambda name, w: w / ratios[name], last)


@functools.cache
def forward(width, recipe, clip):
    return train(width, recipe, "forward", clip)


@pytest.mark.parametrize("clip", ["none", "mupwd"])
@pytest.mark.parametrize("recipe", ["mupwd", "mup"])
def test_forms_are_one_run_exactly_at_a_power_of_two(recipe, clip):
    losses, last = train(32, recipe, "folded", clip)
    jax.tree.map(np.testing.assert_array_equal, last, forward(32, recipe, clip)[1])
    # The two programs sum the squared errors of one output in another order.
    np.testing.assert_allclose(losses, forward(32, recipe, clip)[0], rtol=1e-6)


@pytest.mark.parametrize("clip", ["none", "mupwd"])
def test_forms_give_the_same_losses_to_rounding_at_any_ratio(clip):
    losses, _ = train(12, "mupwd", "folded", clip)
    np.testing.assert_allclose(losses, forward(12, "mupwd", clip)[0], rtol=0, atol=2e-6)


def test_the_clip_of_optax_makes_a_folded_run_another_one():
    # In the forward form it is the same clip.
    np.testing.assert_array_equal(train(32, "mupwd", "forward", "optax")[0], forward(32, "mupwd", "mupwd")[0])
    losses, _ = train(32, "mupwd", "folded", "optax")
    assert np.max(np.abs(losses - forward(32, "mupwd", "mupwd")[0])) > 5e-3


def test_with_nothing_folded_the_clip_is_that_of_optax_bit_for_bit():
    plan = toy(32).plan("mupwd", "forward")
    gradients = jax.tree.map(jnp.ones_like, toy(32).params)
    for max_norm in (1e-2, 1e6):
        ours, theirs = clip_by_global_norm(max_norm, plan), optax.clip_by_global_norm(max_norm)
        state = ours.init(gradients)
        assert jax.tree.structure(state) == jax.tree.structure(theirs.init(gradients))
        actual, wanted = (tx.update(gradients, state)[0] for tx in (ours, theirs))
        jax.tree.map(np.testing.assert_array_equal, actual, wanted)


def test_a_folded_gradient_counts_divided_and_stays_as_large_as_it_was():
    plan = toy(32).plan("mupwd", "folded")
    assert plan["readout/kernel"].gradient == 4
    zeros = jax.tree.map(jnp.zeros_like, toy(32).params)
    gradients = {**zeros, "readout": {"kernel": zeros["readout"]["kernel"].at[0, 0].set(8.0)}}
    tx = clip_by_global_norm(1.0, plan)
    updates, _ = tx.update(gradients, tx.init(zeros))
    # Its norm is 8 / 4; half of it passes.
    assert updates["readout"]["kernel"][0, 0] == 4.0
