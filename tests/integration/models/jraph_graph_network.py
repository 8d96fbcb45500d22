"""jraph: a graph network with its functions from haiku, then a graph convolution; sums over edges."""

import haiku as hk
import jax.numpy as jnp
import jraph
import numpy as np

PACKAGE = "jraph"
FRAMEWORK = "haiku"
MODEL = "graph network and graph convolution"


def build(width):
    def update():
        return jraph.concatenated_args(hk.nets.MLP([2 * width, width]))

    def classify(nodes, edges, context, senders, receivers):
        count = (jnp.array([len(nodes)]), jnp.array([len(edges)]))
        graph = jraph.GraphsTuple(nodes, edges, receivers, senders, context, *count)
        graph = jraph.GraphMapFeatures(hk.Linear(width), hk.Linear(width), hk.Linear(width))(graph)
        graph = jraph.GraphNetwork(update(), update(), update())(graph)
        graph = jraph.GraphConvolution(hk.Linear(width))(graph)
        return hk.Linear(4)(graph.nodes)

    return hk.transform(classify)


_rng = np.random.default_rng(0)
inputs = (
    _rng.normal(size=(5, 3)).astype(np.float32),
    _rng.normal(size=(6, 2)).astype(np.float32),
    _rng.normal(size=(1, 2)).astype(np.float32),
    np.array([0, 1, 2, 3, 4, 0], np.int32),
    np.array([1, 2, 3, 4, 0, 2], np.int32),
)
OUTPUTS = (5, 4)
