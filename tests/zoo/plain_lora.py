"""Plain JAX: LoRA beside frozen weights (x @ A @ B), scanned with the layer axis last; state per channel."""

import jax
import jax.numpy as jnp
import numpy as np

RANK, LAYERS, LENGTH = 4, 3, 6


def forward(params, x_BxTx5):
    x_BxTxD = jnp.einsum("btc,cd->btd", x_BxTx5, params["first"])

    def layer(x_BxTxD, params):
        frozen = jax.lax.stop_gradient(params["frozen"])
        y = x_BxTxD @ frozen + 2.0 * (x_BxTxD @ params["a"]) @ params["b"]
        return x_BxTxD + jax.nn.gelu(y), None

    first = jax.tree.map(lambda w: jnp.moveaxis(w, -1, 0), params["layers"])
    x_BxTxD, _ = jax.lax.scan(layer, x_BxTxD, first)

    decay_D = jax.nn.sigmoid(params["decay"])

    def recur(state_BxD, x_BxD):
        state_BxD = decay_D[None, :] * state_BxD + x_BxD
        return state_BxD, state_BxD

    _, states_TxBxD = jax.lax.scan(recur, jnp.zeros_like(x_BxTxD[:, 0]), jnp.swapaxes(x_BxTxD, 0, 1))
    # A per-channel scale, then a sum over channels: the last product is a readout, not a gain.
    mixed_TxB = (states_TxBxD * params["readout"][None, None, :]).sum(-1)
    gated = jnp.einsum("tbd,d->tbd", states_TxBxD, params["gate"])
    return mixed_TxB, gated @ params["head"]


def build(width):
    layers = {"frozen": (width, width, LAYERS), "a": (width, RANK, LAYERS), "b": (RANK, width, LAYERS)}
    shapes = {
        "first": (5, width),
        "layers": layers,
        "decay": (width,),
        "readout": (width,),
        "gate": (width,),
        "head": (width, 2),
    }
    return forward, jax.tree.map(jnp.ones, shapes, is_leaf=lambda x: isinstance(x, tuple))


inputs = (np.zeros((2, LENGTH, 5), np.float32),)

ROLES = {
    "first": "input",
    "layers/frozen": "matrix",
    "layers/a": "narrow",
    "layers/b": "wide",
    "decay": "vector",
    "readout": "output",
    "gate": "vector",
    "head": "output",
}
AXES = {
    "first": ("in", "out"),
    "layers/frozen": ("in", "out", "stack"),
    "layers/a": ("in", "out", "stack"),
    "layers/b": ("in", "out", "stack"),
    "decay": ("elementwise",),
    "readout": ("in",),
    "gate": ("elementwise",),
    "head": ("in", "out"),
}
