"""A sweep over a model of one's own: which learning rate and decay are best for this MLP, and do they move with width?

    cd examples
    mupwd sweep runs/equinox --train sweep_equinox:train --widths 64,128,256 --steps 300 \\
      --learning_rates 2^-10:2^-4 --weight_decays 0.25,1,4 --seeds 2
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp

import mupwd


def build(width, seed=0):
    return eqx.nn.MLP(16, 1, width, depth=3, activation=jax.nn.gelu, key=jax.random.key(seed))


def loss_of(params, static, key, size):
    x = jax.random.normal(key, (size, 16))
    return ((jax.vmap(eqx.combine(params, static))(x) - jnp.sin(2 * x[:, :1]) * x[:, 1:2]) ** 2).mean()


@functools.cache  # trials of one width share a compilation: learning rate and decay are arguments
def program(width, recipe, base, steps):
    family = mupwd.family(build, base=base, inputs=(jnp.zeros(16),))
    plan = family.plan(width, recipe=recipe)

    @eqx.filter_jit
    def run(params, static, learning_rate, weight_decay, key):
        optimizer = mupwd.adamw(learning_rate, plan, weight_decay=weight_decay)

        def step(carry, key):
            params, state = carry
            loss, gradients = jax.value_and_grad(loss_of)(params, static, key, 64)
            updates, state = optimizer.update(gradients, state, params)
            return (eqx.apply_updates(params, updates), state), loss

        carry, losses = jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, steps))
        return loss_of(carry[0], static, jax.random.key(12345), 4096), losses

    return family, plan, run


def train(width, hyperparameters, seed, directory):
    learning_rate, weight_decay, *kind = (
        hyperparameters[name] for name in ("learning_rate", "weight_decay", "recipe", "base", "steps")
    )
    family, plan, run = program(width, *kind)
    params, static = eqx.partition(family.init(width, seed=seed, plan=plan), eqx.is_inexact_array)
    loss, losses = run(
        params, static, jnp.float32(learning_rate), jnp.float32(weight_decay), jax.random.key(seed)
    )
    return {"eval/loss": float(loss), "train/loss": float(losses[-1]), "step": kind[-1]}
