"""equimo: ConvNeXt in equinox; depthwise convolutions, gains per channel."""

import jax
import numpy as np
from equimo.models.convnext import ConvNeXt

PACKAGE = "equimo"
FRAMEWORK = "equinox"
MODEL = "ConvNeXt (depthwise convolutions, layer scales)"


def build(width, seed):
    return ConvNeXt(
        in_channels=3,
        dims=[width, 2 * width, 2 * width, 4 * width],
        depths=[1, 1, 1, 1],
        num_classes=10,
        key=jax.random.key(seed),
    )


def call(model, images):
    return jax.vmap(lambda image: model(image, inference=True, key=jax.random.key(0)))(images)


inputs = (np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32),)
OUTPUTS = (2, 10)
