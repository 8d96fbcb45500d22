"""The last step of docs/tutorial.md: the wide model, with the two numbers of the narrow one.

Arguments: WIDTH STEPS, both or neither (512 400).
"""

import sys

import optax
from flax import nnx
from tutorial import Model, batch, family, held_out_loss, loss

import mupwd

WIDTH, STEPS = map(int, sys.argv[1:3] or (512, 400))
LEARNING_RATE = 2**-6  # the best at width 64, of mupwd and of plain optax
WEIGHT_DECAY, PLAIN_DECAY = 2**-2, 2**-4  # likewise, of the one and of the other


def run(model, tx):
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def train_step(model, optimizer, x, y):
        gradients = nnx.grad(lambda model: loss(model(x), y))(model)
        optimizer.update(model, gradients)

    for step in range(STEPS):
        train_step(model, optimizer, *batch(0, step))
    return held_out_loss(model)


schedule = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, STEPS // 10, STEPS)
plan = family.plan(WIDTH)
ours = run(family.init(WIDTH, seed=0), mupwd.adamw(schedule, plan, weight_decay=WEIGHT_DECAY))
plain = run(Model(WIDTH, seed=0), optax.adamw(schedule, weight_decay=PLAIN_DECAY))
print(f"width {WIDTH}, held-out loss: mupwd.adamw {ours:.3f}, optax.adamw {plain:.3f}")
