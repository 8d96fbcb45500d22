"""The model of docs/tutorial.md, and its training: guess the next byte of Python source from the eight before it."""

import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import mupwd
from mupwd.proxy import corpus

CONTEXT = 8
TEXT = corpus("stdlib")  # the source of Python's own standard library


class Model(nnx.Module):
    def __init__(self, width, seed=0):
        rngs = nnx.Rngs(seed)
        self.embedding = nnx.Embed(256, width, rngs=rngs)
        self.mix = nnx.Linear(CONTEXT * width, width, rngs=rngs)
        self.hidden = nnx.Linear(width, width, rngs=rngs)
        self.readout = nnx.Linear(width, 256, rngs=rngs)

    def __call__(self, tokens):
        h = self.embedding(tokens).reshape(len(tokens), -1)
        h = jax.nn.gelu(self.mix(h))
        h = h + jax.nn.gelu(self.hidden(h))
        return self.readout(h)


def loss(logits, targets):
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()


def batch(seed, step):
    windows = TEXT.batch(seed, step, 128, CONTEXT)  # of CONTEXT + 1 tokens
    return windows[:, :-1], windows[:, -1]


def held_out_loss(model):
    windows = TEXT.batch(0, 0, 8192, CONTEXT, "validation")
    return float(loss(model(windows[:, :-1]), windows[:, -1]))


inputs = (jnp.zeros((1, CONTEXT), jnp.int32),)
family = mupwd.family(Model, base=64, inputs=inputs)


@functools.cache  # learning rate and decay are arguments of what is compiled: once per width and recipe
def program(width, recipe):
    plan = family.plan(width, recipe=recipe)

    @functools.partial(jax.jit, static_argnums=0)
    def run(graph, params, batches, learning_rate, weight_decay):
        steps = len(batches[0])
        shape = optax.warmup_cosine_decay_schedule(0.0, 1.0, steps // 10, steps)
        tx = mupwd.adamw(lambda step: learning_rate * shape(step), plan, weight_decay=weight_decay)

        def loss_of(params, x, y):
            return loss(nnx.merge(graph, params)(x), y)

        def step(carry, batch):
            params, state = carry
            updates, state = tx.update(jax.grad(loss_of)(params, *batch), state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), batches)
        return params

    return plan, run


def train(width, hyperparameters, seed, directory):
    plan, run = program(width, hyperparameters["recipe"])
    # The plan is given since a sweep also tries other recipes.
    graph, params = nnx.split(family.init(width, seed=seed, plan=plan))
    batches = [batch(seed, step) for step in range(hyperparameters["steps"])]
    pair = (jnp.float32(hyperparameters[name]) for name in ("learning_rate", "weight_decay"))
    params = run(graph, params, tuple(map(jnp.stack, zip(*batches, strict=True))), *pair)
    return {"eval/loss": held_out_loss(nnx.merge(graph, params)), "step": len(batches)}
