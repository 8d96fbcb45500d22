"""equinox: tuned at width 64, trained at another with the same two numbers. Arguments: WIDTH STEPS."""

import sys

import equinox as eqx
import jax
import numpy as np

import mupwd

WIDTH, STEPS = map(int, sys.argv[1:3] or (256, 200))


def build(width, seed=0):
    return eqx.nn.MLP(8, 1, width, depth=2, activation=jax.nn.gelu, key=jax.random.key(seed))


def call(model, x):
    return jax.vmap(model)(x)


family = mupwd.family(build, base=64, inputs=(np.zeros((1, 8), np.float32),), call=call)
print(plan := family.plan(WIDTH))
model = family.init(WIDTH)
optimizer = mupwd.adamw(3e-3, plan, weight_decay=0.1)
state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))


@eqx.filter_jit
def train_step(model, state, x, y):
    loss, gradients = eqx.filter_value_and_grad(lambda model: ((call(model, x) - y) ** 2).mean())(model)
    updates, state = optimizer.update(gradients, state, eqx.filter(model, eqx.is_inexact_array))
    return eqx.apply_updates(model, updates), state, loss


for step in range(STEPS):
    x = np.random.default_rng(step).normal(size=(256, 8)).astype(np.float32)
    model, state, loss = train_step(model, state, x, x[:, :1] * x[:, 1:2])
    print(f"step {step}  loss {loss:.4f}")
