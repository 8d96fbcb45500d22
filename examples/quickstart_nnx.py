"""flax nnx: tuned at width 64, trained at another with the same two numbers. Arguments: WIDTH STEPS."""

import sys

import jax
import numpy as np
from flax import nnx

import mupwd

WIDTH, STEPS = map(int, sys.argv[1:3] or (256, 200))


class MLP(nnx.Module):
    def __init__(self, width, seed):
        rngs = nnx.Rngs(seed)
        self.first = nnx.Linear(8, width, rngs=rngs)
        self.hidden = nnx.Linear(width, width, rngs=rngs)
        self.readout = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, x):
        return self.readout(jax.nn.gelu(self.hidden(jax.nn.gelu(self.first(x)))))


family = mupwd.family(MLP, base=64, inputs=(np.zeros((1, 8), np.float32),))
print(plan := family.plan(WIDTH))
model = family.init(WIDTH)
optimizer = nnx.Optimizer(model, mupwd.adamw(3e-3, plan, weight_decay=0.1), wrt=nnx.Param)


@nnx.jit
def train_step(model, optimizer, x, y):
    loss, gradients = nnx.value_and_grad(lambda model: ((model(x) - y) ** 2).mean())(model)
    optimizer.update(model, gradients)
    return loss


for step in range(STEPS):
    x = np.random.default_rng(step).normal(size=(256, 8)).astype(np.float32)
    print(f"step {step}  loss {train_step(model, optimizer, x, x[:, :1] * x[:, 1:2]):.4f}")
