"""sublayer_gains against branches computed by hand, and on the proxy, unrolled and scanned."""

import importlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mupwd
from mupwd.diagnostics.sublayers import sublayer_gains
from mupwd.family.models import taken_apart
from mupwd.proxy import Llama, ProxyConfig

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 256, (2, 16)).astype(np.int32)


def rms(x):
    return np.sqrt(np.mean(np.square(np.asarray(x, np.float64))))


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def proxy(scan):
    """(a function of pure parameters, those of an unrolled proxy) in the layout that `scan` wants."""
    model = Llama(32, ProxyConfig(layers=3, head_dim=8), nnx.Rngs(0))
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    graph, _ = nnx.split(Llama(32, ProxyConfig(layers=3, head_dim=8, scan=scan), nnx.Rngs(0)))
    if scan:
        layers = [params["layers"][i] for i in range(3)]
        params = params | {"layers": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}
    return (lambda params, tokens: nnx.merge(graph, nnx.State(params))(tokens)), params, model


@pytest.fixture(scope="module")
def unrolled():
    fn, params, model = proxy(scan=False)
    return model, *jax.jit(sublayer_gains(fn))(params, TOKENS)


def test_the_proxy_s_gains(unrolled):
    model, out, gains = unrolled
    np.testing.assert_allclose(out, model(TOKENS), rtol=1e-4, atol=1e-5)
    x = model.embedding[...][TOKENS.reshape(-1)]
    want = {}
    for i, layer in enumerate(model.layers):
        for name, branch in (
            ("attention", layer.attention(layer.attention_norm(x), 16)),
            ("mlp", None),
        ):
            branch = layer.mlp(layer.mlp_norm(x)) if branch is None else branch
            want[f"layers/{i}/{name}"] = rms(branch) / rms(x)
            x = x + branch
    assert gains.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(gains[name], want[name], rtol=1e-4)


def test_scanned_layers_have_the_gains_of_unrolled_ones(unrolled):
    *_, want = unrolled
    fn, params, _ = proxy(scan=True)
    _, gains = jax.jit(sublayer_gains(fn))(params, TOKENS)
    assert gains.keys() == {"layers/attention", "layers/mlp"}
    for name in ("attention", "mlp"):
        each = [want[f"layers/{i}/{name}"] for i in range(3)]
        np.testing.assert_allclose(gains[f"layers/{name}"], each, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "branches"),
    [
        (
            "linen_gpt",
            {
                f"block_{i}/({names})": ()
                for i in range(2)
                for names in (
                    "down/kernel, up/kernel",
                    "key/kernel, out/kernel, query/kernel, value/kernel",
                )
            },
        ),
        ("equinox_mlp", {"blocks/0": (), "blocks/1": ()}),
        ("haiku_mlp", {"(down/w, up/w)": ()}),
        ("linen_scanned", {"blocks": (3,)}),
    ],
)
def test_names_in_the_zoo(name, branches):
    model = importlib.import_module(f"zoo.{name}")
    apart = taken_apart(model.build(32), model.inputs, getattr(model, "call", None))
    arrays, others = eqx.partition(apart.params, eqx.is_inexact_array)
    fn = lambda arrays, *inputs: apart.fn((eqx.combine(arrays, others), apart.rest), *inputs)  # noqa: E731
    gains = jax.eval_shape(sublayer_gains(fn), arrays, *model.inputs)[1]
    assert {name: gain.shape for name, gain in gains.items()} == branches


def test_layers_that_share_their_matrices_are_numbered():
    def fn(params, x):
        for _ in range(3):
            x = x + jnp.tanh(x @ params["mlp"]["w"])
        return x

    params, x = {"mlp": {"w": normal(5, 5)}}, normal(7, 5)
    _, gains = sublayer_gains(fn)(params, x)
    assert list(gains) == ["mlp/w", "mlp/w#2", "mlp/w#3"]
    np.testing.assert_allclose(gains["mlp/w"], rms(np.tanh(x @ params["mlp"]["w"])) / rms(x), rtol=1e-5)


def test_gradients_are_the_function_s_own():
    def fn(params, x):
        return jnp.square(x + jnp.tanh(x @ params["up"]) @ params["down"]).mean()

    params, x = {"up": normal(5, 8), "down": normal(8, 5)}, normal(7, 5)
    got, gains = jax.grad(sublayer_gains(fn), has_aux=True)(params, x)
    want = jax.grad(fn)(params, x)
    for name in params:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-6)
    assert list(gains) == ["(down, up)"]


def test_a_function_without_branches_is_an_error():
    with pytest.raises(mupwd.TraceError, match=r"fn has no sum x \+ f\(x\) whose f holds a matrix"):
        sublayer_gains(lambda params, x: x @ params["w"])({"w": normal(5, 5)}, normal(7, 5))
