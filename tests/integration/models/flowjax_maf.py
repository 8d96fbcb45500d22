"""flowjax: a masked autoregressive flow in equinox; masks lie beside the weights that they select from."""

import jax
import jax.numpy as jnp
import numpy as np
import paramax
from flowjax.distributions import Normal
from flowjax.flows import masked_autoregressive_flow

PACKAGE = "flowjax"
FRAMEWORK = "equinox"
MODEL = "masked autoregressive flow (masked weights, scanned layers)"


def build(width, seed):
    return masked_autoregressive_flow(
        jax.random.key(seed), base_dist=Normal(jnp.zeros(3)), flow_layers=1, nn_width=width, nn_depth=2
    )


def call(model, x):
    return paramax.unwrap(model).log_prob(x)


inputs = (np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32),)
OUTPUTS = (2,)
