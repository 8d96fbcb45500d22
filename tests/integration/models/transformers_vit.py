"""transformers: its flax ViT."""

import numpy as np
from transformers import ViTConfig
from transformers.models.vit.modeling_flax_vit import FlaxViTForImageClassificationModule

PACKAGE = "transformers"
FRAMEWORK = "flax linen"
MODEL = "vision transformer"
ENVIRONMENT = "transformers"


def build(width):
    config = ViTConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=width // 8,
        image_size=8,
        patch_size=4,
        num_labels=10,
    )
    return FlaxViTForImageClassificationModule(config)


inputs = (np.zeros((2, 8, 8, 3), np.float32),)
