"""Plain JAX: tuned at width 64, trained at another with the same two numbers. Arguments: WIDTH STEPS."""

import sys

import jax
import numpy as np
import optax

import mupwd

WIDTH, STEPS = map(int, sys.argv[1:3] or (256, 200))


def forward(params, x):
    return jax.nn.gelu(jax.nn.gelu(x @ params["first"]) @ params["hidden"]) @ params["readout"]


def build(width, seed):
    shapes, init = [(8, width), (width, width), (width, 1)], jax.nn.initializers.lecun_normal()
    first, hidden, readout = map(init, jax.random.split(jax.random.key(seed), 3), shapes)
    return forward, {"first": first, "hidden": hidden, "readout": readout}


family = mupwd.family(build, base=64, inputs=(np.zeros((1, 8), np.float32),))
print(plan := family.plan(WIDTH))
params, optimizer = family.init(WIDTH), mupwd.adamw(3e-3, plan, weight_decay=0.1)
state = optimizer.init(params)


@jax.jit
def train_step(params, state, x, y):
    loss, gradients = jax.value_and_grad(lambda p: ((forward(p, x) - y) ** 2).mean())(params)
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state, loss


for step in range(STEPS):
    x = np.random.default_rng(step).normal(size=(256, 8)).astype("float32")
    params, state, loss = train_step(params, state, x, x[:, :1] * x[:, 1:2])
    print(f"step {step}  loss {loss:.4f}")
