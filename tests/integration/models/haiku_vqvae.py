"""dm-haiku: hk.nets.VectorQuantizer between MLPs; its codebook is compared with, looked up and measured."""

import haiku as hk
import numpy as np

PACKAGE = "dm-haiku"
FRAMEWORK = "haiku"
MODEL = "VQ-VAE (`hk.nets.VectorQuantizer` between `hk.nets.MLP`s)"
# Its norms are added to products with data. What reaches the result are the codes themselves.
overrides = {"vector_quantizer/embeddings": "input: out lookup"}


def build(width):
    def autoencode(x):
        z = hk.nets.MLP([2 * width, width], name="encoder")(x)
        quantizer = hk.nets.VectorQuantizer(embedding_dim=width, num_embeddings=16, commitment_cost=0.25)
        return hk.nets.MLP([2 * width, 5], name="decoder")(quantizer(z, is_training=True)["quantize"])

    return hk.transform_with_state(autoencode)


inputs = (np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32),)
OUTPUTS = (8, 5)
