"""linen: an MLP-Mixer: a mixing over tokens, where nothing grows, beside one over channels."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

LENGTH, TOKEN_HIDDEN = 16, 12


class Mixer(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x_BxTx3):
        x = nn.Dense(self.width, name="stem")(x_BxTx3)
        y = jnp.swapaxes(nn.LayerNorm(name="norm_1")(x), 1, 2)
        y = nn.Dense(LENGTH, name="token_down")(nn.gelu(nn.Dense(TOKEN_HIDDEN, name="token_up")(y)))
        x = x + jnp.swapaxes(y, 1, 2)
        y = nn.LayerNorm(name="norm_2")(x)
        x = x + nn.Dense(self.width, name="channel_down")(
            nn.gelu(nn.Dense(2 * self.width, name="channel_up")(y))
        )
        return nn.Dense(10, name="head")(jnp.mean(x, axis=1))


def build(width):
    return Mixer(width)


inputs = (np.zeros((2, LENGTH, 3), np.float32),)

ROLES = {
    "stem/kernel": "input",
    "stem/bias": "vector",
    "norm_1/scale": "vector",
    "norm_1/bias": "vector",
    "token_up/kernel": "scalar",
    "token_up/bias": "scalar",
    "token_down/kernel": "scalar",
    "token_down/bias": "scalar",
    "norm_2/scale": "vector",
    "norm_2/bias": "vector",
    "channel_up/kernel": "matrix",
    "channel_up/bias": "vector",
    "channel_down/kernel": "matrix",
    "channel_down/bias": "vector",
    "head/kernel": "output",
    "head/bias": "scalar",
}
AXES = {
    "stem/kernel": ("in", "out"),
    "stem/bias": ("elementwise",),
    "norm_1/scale": ("elementwise",),
    "norm_1/bias": ("elementwise",),
    "token_up/kernel": ("in", "out"),
    "token_up/bias": ("elementwise",),
    "token_down/kernel": ("in", "out"),
    "token_down/bias": ("elementwise",),
    "norm_2/scale": ("elementwise",),
    "norm_2/bias": ("elementwise",),
    "channel_up/kernel": ("in", "out"),
    "channel_up/bias": ("elementwise",),
    "channel_down/kernel": ("in", "out"),
    "channel_down/bias": ("elementwise",),
    "head/kernel": ("in", "out"),
    "head/bias": ("elementwise",),
}
