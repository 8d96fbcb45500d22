"""Plain JAX: mixtures of experts, by einsum, by sorting and ragged_dot, and by gathering kernels."""

import jax
import jax.numpy as jnp
import numpy as np

EXPERTS, CAPACITY, TOKENS = 4, 3, 12


def by_einsum(params, x_TxD):
    probability_TxE = jax.nn.softmax(x_TxD @ params["router"], axis=-1)
    chosen_TxE = jax.nn.one_hot(jnp.argmax(probability_TxE, axis=-1), EXPERTS)
    place_TxE = jnp.cumsum(chosen_TxE, axis=0) * chosen_TxE
    dispatch_TxExC = jax.nn.one_hot(place_TxE.astype(jnp.int32) - 1, CAPACITY)
    x_ExCxD = jnp.einsum("tec,td->ecd", dispatch_TxExC, x_TxD)
    h_ExCxF = jax.nn.silu(jnp.einsum("ecd,edf->ecf", x_ExCxD, params["gate"]))
    h_ExCxF = h_ExCxF * jnp.einsum("ecd,edf->ecf", x_ExCxD, params["up"])
    y_ExCxD = jnp.einsum("ecf,efd->ecd", h_ExCxF, params["down"])
    combine_TxExC = dispatch_TxExC * probability_TxE[:, :, None]
    return jnp.einsum("tec,ecd->td", combine_TxExC, y_ExCxD)


def by_ragged_dot(params, x_TxD):
    logits_TxE = x_TxD @ params["router"] + params["router_bias"][None, :]
    weight_T, expert_T = jax.lax.top_k(jax.nn.softmax(logits_TxE, axis=-1), 1)
    weight_T, expert_T = weight_T[:, 0], expert_T[:, 0]
    order_T = jnp.argsort(expert_T)
    sizes_E = jnp.bincount(expert_T, length=EXPERTS).astype(jnp.int32)
    h_TxF = jax.nn.relu(jax.lax.ragged_dot(x_TxD[order_T], params["up"], sizes_E))
    y_TxD = jax.lax.ragged_dot(h_TxF, params["down"], sizes_E)
    return jnp.zeros_like(x_TxD).at[order_T].set(y_TxD) * weight_T[:, None]


def by_gather(params, x_TxD):
    logits_TxE = x_TxD @ params["router"]
    expert_T = jnp.argmax(logits_TxE, axis=-1)
    h_TxF = jax.nn.relu(jnp.einsum("td,tdf->tf", x_TxD, params["up"][expert_T]))
    y_TxD = jnp.einsum("tf,tfd->td", h_TxF, params["down"][expert_T])
    return y_TxD * jnp.max(jax.nn.softmax(logits_TxE, axis=-1), axis=-1)[:, None]


def forward(params, x_Tx6):
    x = jnp.tanh(x_Tx6 @ params["first"])
    x = x + by_einsum(params["einsum"], x)
    x = x + by_ragged_dot(params["ragged"], x)
    x = x + by_gather(params["gather"], x)
    return x @ params["head"]


def build(width):
    experts = {"up": (EXPERTS, width, 2 * width), "down": (EXPERTS, 2 * width, width)}
    shapes = {
        "first": (6, width),
        "einsum": {**experts, "gate": (EXPERTS, width, 2 * width), "router": (width, EXPERTS)},
        "ragged": {**experts, "router": (width, EXPERTS), "router_bias": (EXPERTS,)},
        "gather": {**experts, "router": (width, EXPERTS)},
        "head": (width, 2),
    }
    return forward, jax.tree.map(jnp.ones, shapes, is_leaf=lambda x: isinstance(x, tuple))


inputs = (np.zeros((TOKENS, 6), np.float32),)

ROLES = {
    "first": "input",
    "einsum/router": "narrow",
    "einsum/gate": "matrix",
    "einsum/up": "matrix",
    "einsum/down": "matrix",
    "ragged/router": "narrow",
    "ragged/router_bias": "scalar",
    "ragged/up": "matrix",
    "ragged/down": "matrix",
    "gather/router": "narrow",
    "gather/up": "matrix",
    "gather/down": "matrix",
    "head": "output",
}
AXES = {
    "first": ("in", "out"),
    "einsum/router": ("in", "out"),
    "einsum/gate": ("stack", "in", "out"),
    "einsum/up": ("stack", "in", "out"),
    "einsum/down": ("stack", "in", "out"),
    "ragged/router": ("in", "out"),
    "ragged/router_bias": ("elementwise",),
    "ragged/up": ("stack", "in", "out"),
    "ragged/down": ("stack", "in", "out"),
    "gather/router": ("in", "out"),
    # Indexed, but what is chosen is a copy of a matrix, not a row.
    "gather/up": ("stack", "in", "out"),
    "gather/down": ("stack", "in", "out"),
    "head": ("in", "out"),
}
