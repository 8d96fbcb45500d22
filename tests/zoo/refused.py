"""Programs whose roles the structure does not decide: each with the parameter and a word of the message."""

import jax
import jax.numpy as jnp
import numpy as np

HEAD_DIM = 16


def ones(shapes):
    return jax.tree.map(jnp.ones, shapes, is_leaf=lambda x: isinstance(x, tuple))


def merged_lora(width):
    """A @ B is a matrix of low rank, but it could as well be learned queries times a kernel."""

    def forward(params, x_Bx6):
        x = x_Bx6 @ params["first"]
        x = x @ (params["frozen"] + params["a"] @ params["b"])
        return x @ params["head"]

    return forward, ones(
        {"first": (6, width), "frozen": (width, width), "a": (width, 4), "b": (4, width), "head": (width, 2)}
    )


def learned_queries(width):
    """Latents (L, d) times the query kernel, then against keys of the data."""

    def forward(params, x_Bx6):
        x = x_Bx6 @ params["first"]
        queries_LxD = params["latents"] @ params["query"]
        logits_LxB = queries_LxD @ (x @ params["key"]).T
        return jax.nn.softmax(logits_LxB, axis=-1) @ x @ params["head"]

    return forward, ones(
        {
            "first": (6, width),
            "latents": (3, width),
            "query": (width, width),
            "key": (width, width),
            "head": (width, 2),
        }
    )


def growing_experts(width):
    """Four features per expert, so that the count of experts grows."""

    def forward(params, x_Bx6):
        x_BxExF = (x_Bx6 @ params["first"]).reshape(x_Bx6.shape[0], -1, 4)
        x_BxExF = jnp.einsum("bef,efg->beg", x_BxExF, params["experts"])
        return x_BxExF.reshape(x_Bx6.shape[0], -1) @ params["head"]

    return forward, ones({"first": (6, width), "experts": (width // 4, 4, 4), "head": (width, 2)})


inputs = (np.zeros((4, 6), np.float32),)

REFUSED = {"merged_lora": "a", "learned_queries": "latents", "growing_experts": "experts"}
