"""transformers: its flax LLaMA, with grouped queries."""

import numpy as np
from transformers import LlamaConfig
from transformers.models.llama.modeling_flax_llama import FlaxLlamaForCausalLMModule

PACKAGE = "transformers"
FRAMEWORK = "flax linen"
MODEL = "LLaMA decoder"
ENVIRONMENT = "transformers"


def build(width):
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=width // 8,
        num_key_value_heads=2,
        max_position_embeddings=16,
    )
    return FlaxLlamaForCausalLMModule(config)


_tokens = np.zeros((2, 8), np.int32)
_positions = np.arange(8, dtype=np.int32)[None].repeat(2, 0)
inputs = (_tokens, np.ones_like(_tokens), _positions)
