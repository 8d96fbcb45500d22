"""Plain JAX: matrices inside while, cond, switch, checkpoint, custom_vjp, shard_map; one never used."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec


@jax.custom_vjp
def straight_through(x, w):
    return jnp.sign(x @ w)


straight_through.defvjp(
    lambda x, w: (straight_through(x, w), (x, w)), lambda saved, g: (g @ saved[1].T, saved[0].T @ g)
)


def sharded_mlp(x_BxD, up, down):
    mesh = Mesh(np.array(jax.devices()[:4]), ("model",), axis_types=(AxisType.Auto,))

    def block(x_BxD, up, down):
        return jax.lax.psum(jax.nn.relu(x_BxD @ up) @ down, "model")

    columns, rows = PartitionSpec(None, "model"), PartitionSpec("model", None)
    return jax.shard_map(
        block, mesh=mesh, in_specs=(PartitionSpec(), columns, rows), out_specs=PartitionSpec()
    )(x_BxD, up, down)


def forward(params, x_Bx6):
    x = x_Bx6 @ params["first"]
    _, x = jax.lax.while_loop(
        lambda carry: carry[0] < 3,
        lambda carry: (carry[0] + 1, jnp.tanh(carry[1] @ params["loop"] + params["loop_bias"][None, :])),
        (0, x),
    )
    x = jax.lax.cond(jnp.sum(x) > 0, lambda x: x @ params["yes"], lambda x: x @ params["no"], x)
    branches = [lambda x: x, lambda x: x @ params["one"], lambda x: x * params["two"][None, :]]
    x = jax.lax.switch(jnp.argmax(x[0, :3]), branches, x)
    policy = jax.checkpoint_policies.everything_saveable
    x = x + jax.checkpoint(lambda x, w: jax.nn.relu(x @ w), policy=policy)(x, params["saved"])
    x = x + straight_through(x, params["signed"])
    x = x + sharded_mlp(x, params["sharded"]["up"], params["sharded"]["down"])
    return x @ params["head"]


def build(width):
    square = (width, width)
    shapes = {
        "first": (6, width),
        "loop": square,
        "loop_bias": (width,),
        "yes": square,
        "no": square,
        "one": square,
        "two": (width,),
        "saved": square,
        "signed": square,
        "sharded": {"up": (width, 4 * width), "down": (4 * width, width)},
        "never": (width, 3),
        "head": (width, 2),
    }
    return forward, jax.tree.map(jnp.ones, shapes, is_leaf=lambda x: isinstance(x, tuple))


inputs = (np.zeros((4, 6), np.float32),)

ROLES = {
    "first": "input",
    "loop": "matrix",
    "loop_bias": "vector",
    "yes": "matrix",
    "no": "matrix",
    "one": "matrix",
    "two": "vector",
    "saved": "matrix",
    "signed": "matrix",
    "sharded/up": "matrix",
    "sharded/down": "matrix",
    "never": "unused",
    "head": "output",
}
AXES = {
    "first": ("in", "out"),
    "loop": ("in", "out"),
    "loop_bias": ("elementwise",),
    "yes": ("in", "out"),
    "no": ("in", "out"),
    "one": ("in", "out"),
    "two": ("elementwise",),
    "saved": ("in", "out"),
    "signed": ("in", "out"),
    "sharded/up": ("in", "out"),
    "sharded/down": ("in", "out"),
    "never": ("unused", "unused"),
    "head": ("in", "out"),
}
