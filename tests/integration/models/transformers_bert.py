"""transformers: its flax BERT for masked words, with a tied embedding."""

import numpy as np
from transformers import BertConfig
from transformers.models.bert.modeling_flax_bert import FlaxBertForMaskedLMModule

PACKAGE = "transformers"
FRAMEWORK = "flax linen"
MODEL = "BERT encoder (tied embedding)"
ENVIRONMENT = "transformers"


def build(width):
    config = BertConfig(
        vocab_size=32,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=width // 8,
        max_position_embeddings=16,
    )
    return FlaxBertForMaskedLMModule(config)


_tokens = np.zeros((2, 8), np.int32)
_positions = np.arange(8, dtype=np.int32)[None].repeat(2, 0)
inputs = (_tokens, np.ones_like(_tokens), np.zeros_like(_tokens), _positions, None)
