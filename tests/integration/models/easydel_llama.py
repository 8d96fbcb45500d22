"""easydel: its LLaMA in flax nnx; it is called inside of its own mesh."""

import jax.numpy as jnp
import numpy as np
from easydel import LlamaConfig, LlamaForCausalLM
from flax import nnx

PACKAGE = "easydel"
FRAMEWORK = "flax nnx"
MODEL = "LLaMA decoder (grouped queries)"
ENVIRONMENT = "easydel"
BASE = 32  # with 16 there is one query head for each key head, and easydel runs other code


def build(width, seed):
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=width // 8,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=16,
        attn_mechanism="vanilla",
    )
    return LlamaForCausalLM(config, dtype=jnp.float32, param_dtype=jnp.float32, rngs=nnx.Rngs(seed))


def call(model, tokens):
    with model.mesh:
        return model(input_ids=tokens).logits


inputs = (np.zeros((2, 8), np.int32),)
