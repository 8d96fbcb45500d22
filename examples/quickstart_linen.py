"""flax linen: tuned at width 64, trained at another with the same two numbers. Arguments: WIDTH STEPS."""

import sys

import flax.linen as nn
import jax
import numpy as np
from flax.training.train_state import TrainState

import mupwd

WIDTH, STEPS = map(int, sys.argv[1:3] or (256, 200))


class MLP(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Dense(self.width)(nn.gelu(nn.Dense(self.width)(x))))
        return nn.Dense(1)(x)


family = mupwd.family(MLP, base=64, inputs=(np.zeros((1, 8), np.float32),))
print(plan := family.plan(WIDTH))
optimizer = mupwd.adamw(3e-3, plan, weight_decay=0.1)
state = TrainState.create(apply_fn=MLP(WIDTH).apply, params=family.init(WIDTH), tx=optimizer)


@jax.jit
def train_step(state, x, y):
    squared_error = lambda params: ((state.apply_fn({"params": params}, x) - y) ** 2).mean()  # noqa: E731
    loss, gradients = jax.value_and_grad(squared_error)(state.params)
    return state.apply_gradients(grads=gradients), loss


for step in range(STEPS):
    x = np.random.default_rng(step).normal(size=(256, 8)).astype(np.float32)
    state, loss = train_step(state, x, x[:, :1] * x[:, 1:2])
    print(f"step {step}  loss {loss:.4f}")
