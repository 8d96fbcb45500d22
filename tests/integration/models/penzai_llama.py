"""penzai: its LLaMA, whose arrays have named axes; grouped queries, the number of heads grows."""

import jax
import numpy as np
from penzai import pz
from penzai.models.transformer.variants import llamalike_common as llamalike

PACKAGE = "penzai"
FRAMEWORK = "penzai"
MODEL = "LLaMA decoder (grouped queries, SwiGLU, RoPE)"
BASE = 32  # with 16 there is one query for each key, and penzai leaves that axis out


def build(width, seed):
    config = llamalike.LlamalikeTransformerConfig(
        num_kv_heads=2,
        query_head_multiplier=width // 16,
        embedding_dim=width,
        projection_dim=8,
        mlp_hidden_dim=2 * width,
        num_decoder_blocks=1,
        vocab_size=32,
        mlp_variant="swiglu",
        tie_embedder_and_logits=False,
    )
    model = llamalike.build_llamalike_transformer(config, jax.random.key(seed))
    slots, variables = pz.unbind_params(model, freeze=True)

    def logits(params, tokens):
        whole = pz.bind_variables(slots, params.values())
        named = whole(
            pz.nx.wrap(tokens).tag("batch", "seq"), token_positions=pz.nx.arange("seq", tokens.shape[1])
        )
        return named.unwrap("batch", "seq", "vocabulary")

    return logits, {variable.label: variable for variable in variables}


inputs = (np.random.default_rng(0).integers(0, 32, (2, 8)).astype(np.int32),)
OUTPUTS = (2, 8, 32)
WIDTHS = (32, 128)  # of its coordinate check


def init(width, seed):
    """penzai's own initial values: a variance of 2 / (fan_in + fan_out) is no power of the width, and not scaled."""
    return build(width, seed)[1]
