"""A train loop of one's own that a report can watch. Arguments: DIRECTORY WIDTH STEPS.

python examples/watched_run.py runs/w256 256 2000      # and w64, w128
mupwd report runs/w* --serve                           # next to it
"""

import sys

import jax
import numpy as np
import optax

import mupwd
from mupwd.report import RunLog

DIRECTORY, WIDTH, STEPS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
LEARNING_RATE, WEIGHT_DECAY, SEED = 2**-8, 1.0, 0


def forward(params, x):
    x = x @ params["first"]
    for name in ("hidden_1", "hidden_2"):
        x = x + jax.nn.gelu(x) @ params[name]
    return x @ params["readout"]


def build(width, seed):
    init, keys = jax.nn.initializers.lecun_normal(), jax.random.split(jax.random.key(seed), 4)
    shapes = {
        "first": (8, width),
        "hidden_1": (width, width),
        "hidden_2": (width, width),
        "readout": (width, 1),
    }
    return forward, {name: init(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=True)}


family = mupwd.family(build, base=64, inputs=(np.zeros((1, 8), np.float32),))
plan = family.plan(WIDTH)
params = family.init(WIDTH, seed=SEED)
optimizer = optax.chain(
    mupwd.adamw(LEARNING_RATE, plan, weight_decay=WEIGHT_DECAY),
    mupwd.track_spectrum(plan, k=4, every=20, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY),
)
state = optimizer.init(params)


@jax.jit
def train_step(params, state, x, y):
    loss, gradients = jax.value_and_grad(lambda p: ((forward(p, x) - y) ** 2).mean())(params)
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state, loss


run = {"learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY, "seed": SEED}
with RunLog(DIRECTORY, run, plan=plan) as log:
    for step in range(1, STEPS + 1):
        x = np.random.default_rng(step).normal(size=(256, 8)).astype("float32")
        y = x[:, :1] * x[:, 1:2] + 0.5 * np.random.default_rng(-step % 2**32).normal(size=(256, 1)).astype(
            "float32"
        )
        params, state, loss = train_step(params, state, x, y)
        if step % 20 == 1:  # when the tracker has just observed
            metrics = {"train/loss": loss, "train/learning_rate": LEARNING_RATE}
            log(step, metrics | mupwd.diagnostics.metrics(state[-1]))
