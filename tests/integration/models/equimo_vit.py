"""equimo: its vision transformer in equinox; fused qkv, class and register tokens; the number of heads grows."""

import jax
import numpy as np
from equimo.models import VisionTransformer

PACKAGE = "equimo"
FRAMEWORK = "equinox"
MODEL = "vision transformer (fused qkv, class and register tokens)"


def build(width, seed):
    return VisionTransformer(
        img_size=8,
        in_channels=3,
        dim=width,
        patch_size=4,
        num_heads=width // 4,
        depths=[1],
        num_classes=10,
        reg_tokens=2,
        key=jax.random.key(seed),
    )


def call(model, images):
    return jax.vmap(lambda image: model(image, inference=True, key=jax.random.key(0)))(images)


inputs = (np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32),)
OUTPUTS = (4, 10)
