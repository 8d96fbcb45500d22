"""equinox: a recurrent cell, its parameters constants of a scan over time; its gates are fused copies."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


class Recurrent(eqx.Module):
    cell: eqx.nn.GRUCell
    readout: eqx.nn.Linear

    def __init__(self, width, key):
        cell, readout = jax.random.split(key)
        self.cell = eqx.nn.GRUCell(5, width, key=cell)
        self.readout = eqx.nn.Linear(width, 1, use_bias=False, key=readout)

    def __call__(self, x_Tx5):
        def step(state_D, x_5):
            return self.cell(x_5, state_D), None

        state_D, _ = jax.lax.scan(step, jnp.zeros((self.cell.hidden_size,)), x_Tx5)
        return self.readout(state_D)


def build(width):
    return Recurrent(width, jax.random.key(0))


def call(model, x_BxTx5):
    return jax.vmap(model)(x_BxTx5)


inputs = (np.zeros((3, 6, 5), np.float32),)

ROLES = {
    "cell/weight_ih": "input",
    "cell/weight_hh": "matrix",
    "cell/bias": "vector",
    "cell/bias_n": "vector",
    "readout/weight": "output",
}
AXES = {
    "cell/weight_ih": ("stack+out", "in"),
    "cell/weight_hh": ("stack+out", "in"),
    "cell/bias": ("elementwise",),
    "cell/bias_n": ("elementwise",),
    "readout/weight": ("out", "in"),
}

PIECES = {"cell/weight_hh": (3, 1), "cell/weight_ih": (3, 1)}
