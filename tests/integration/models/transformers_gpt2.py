"""transformers: its flax GPT-2: fused qkv, kernels that lie the other way around, a tied embedding."""

import numpy as np
from transformers import GPT2Config
from transformers.models.gpt2.modeling_flax_gpt2 import FlaxGPT2LMHeadModule

PACKAGE = "transformers"
FRAMEWORK = "flax linen"
MODEL = "GPT-2 decoder (tied embedding)"
ENVIRONMENT = "transformers"


def build(width):
    config = GPT2Config(
        vocab_size=32,
        n_embd=width,
        n_layer=1,
        n_head=width // 8,
        n_positions=16,
    )
    return FlaxGPT2LMHeadModule(config)


_tokens = np.zeros((2, 8), np.int32)
_positions = np.arange(8, dtype=np.int32)[None].repeat(2, 0)
inputs = (_tokens, np.ones_like(_tokens), _positions)
