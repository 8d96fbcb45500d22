"""jax.example_libraries.stax: a convolutional classifier, lists and tuples of unnamed arrays."""

import jax
import numpy as np
from jax.example_libraries import stax

PACKAGE = "jax"
FRAMEWORK = "plain (stax)"
MODEL = "`stax.serial` of convolutions, batch norm, pooling and dense layers"


def build(width, seed):
    init, apply = stax.serial(
        stax.Conv(width, (3, 3), padding="SAME"),
        stax.BatchNorm(),
        stax.Relu,
        stax.MaxPool((2, 2)),
        stax.Conv(2 * width, (3, 3)),
        stax.Relu,
        stax.Flatten,
        stax.Dense(4 * width),
        stax.Relu,
        stax.Dense(10),
    )
    return apply, init(jax.random.key(seed), (-1, 6, 6, 3))[1]


inputs = (np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32),)
OUTPUTS = (2, 10)
