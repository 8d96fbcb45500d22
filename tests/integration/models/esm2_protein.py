"""esm2quinox: the ESM-2 protein language model in equinox; its layers are scanned over, its embedding is tied."""

import esm2quinox
import jax
import numpy as np

PACKAGE = "esm2quinox"
FRAMEWORK = "equinox"
MODEL = "ESM-2 protein encoder (scanned layers, tied embedding)"


def build(width, seed):
    return esm2quinox.ESM2(1, width, width // 8, token_dropout=True, key=jax.random.key(seed))


def call(model, tokens):
    return jax.vmap(model)(tokens).logits


inputs = (np.random.default_rng(0).integers(4, 24, (2, 8)).astype(np.int32),)
FORM = "forward"  # of a tied embedding
OUTPUTS = (2, 8, 33)
