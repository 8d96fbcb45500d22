"""mamba2-jax: Mamba-2 in flax nnx; one projection is cut into gates, states and step sizes."""

import numpy as np
from flax import nnx
from mamba2_jax import Mamba2Config, Mamba2ForCausalLM

PACKAGE = "mamba2-jax"
FRAMEWORK = "flax nnx"
MODEL = "Mamba-2 decoder (state-space model)"


def build(width, seed):
    config = Mamba2Config(
        vocab_size=32,
        hidden_size=width,
        state_size=8,
        head_dim=2,
        chunk_size=4,
        num_hidden_layers=1,
        tie_word_embeddings=False,
    )
    return Mamba2ForCausalLM(config, rngs=nnx.Rngs(seed))


def call(model, tokens):
    return model(tokens)["logits"]


inputs = (np.random.default_rng(0).integers(0, 32, (1, 4)).astype(np.int32),)
OUTPUTS = (1, 4, 32)
