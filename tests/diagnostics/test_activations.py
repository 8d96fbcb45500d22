"""activation_products against products computed by hand, in a loop, scaled, and beside the other statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mupwd
from mupwd.diagnostics.activations import activation_products
from mupwd.diagnostics.sublayers import sublayer_gains

RNG = np.random.default_rng(0)
LENGTH, HEADS, HEAD_DIM = 6, 2, 4
WIDTH = HEADS * HEAD_DIM


def rms(x):
    return np.sqrt(np.mean(np.square(np.asarray(x, np.float64))))


def layer(x, w, scale_queries):
    q, k, v = (jnp.reshape(x @ w[name], (LENGTH, HEADS, HEAD_DIM)) for name in "qkv")
    q = q * HEAD_DIM**-0.5 if scale_queries else q
    logits = jnp.einsum("qhc,khc->hqk", q, k)
    logits = logits if scale_queries else logits / HEAD_DIM**0.5
    weights = jax.nn.softmax(jnp.where(np.tri(LENGTH, dtype=bool)[None], logits, -1e9))
    mixed = jnp.einsum("hqk,khc->qhc", weights, v).reshape(LENGTH, WIDTH)
    return x + mixed @ w["o"], (logits, weights, v)


LAYERS = [{name: RNG.normal(size=(WIDTH, WIDTH)).astype(np.float32) for name in "qkvo"} for _ in range(2)]
X = RNG.normal(size=(LENGTH, WIDTH)).astype(np.float32)


def unrolled(scale_queries):
    def fn(params, x):
        for w in params["layers"]:
            x, _ = layer(x, w, scale_queries)
        return x

    return fn, {"layers": LAYERS}


def scanned(scale_queries):
    def fn(params, x):
        return jax.lax.scan(lambda x, w: (layer(x, w, scale_queries)[0], None), x, params["layers"])[0]

    return fn, {"layers": jax.tree.map(lambda *leaves: np.stack(leaves), *LAYERS)}


@pytest.mark.parametrize("scale_queries", [True, False])
@pytest.mark.parametrize("build", [unrolled, scanned])
def test_against_products_by_hand(build, scale_queries):
    fn, params = build(scale_queries)
    out, products = jax.jit(activation_products(fn))(params, X)
    np.testing.assert_allclose(out, fn(params, X), rtol=1e-4)
    logits, mixed, x = [], [], X
    for w in LAYERS:
        x, (scaled, weights, v) = layer(x, w, scale_queries)
        logits.append(rms(scaled))
        mixed.append(rms(jnp.einsum("hqk,khc->qhc", weights, v)))
    assert all(line.startswith("test_activations.py:") for line in products)
    found = [
        [np.ravel(np.stack([getattr(p, field) for p in uses])) for field in ("rms_out", "rms_scaled")]
        for uses in products.values()
    ]
    before = np.array(logits) * (1 if scale_queries else HEAD_DIM**0.5)
    np.testing.assert_allclose(found, [[before, logits], [mixed, mixed]], rtol=1e-4)


def test_all_statistics_in_one_program_are_those_of_each():
    fn, params = scanned(True)
    alone = [jax.jit(f(fn))(params, X)[1] for f in (mupwd.instrument, activation_products, sublayer_gains)]
    together = mupwd.instrument(activation_products(sublayer_gains(fn)))
    ((_, gains), products), stats = jax.jit(together)(params, X)
    for got, want in zip((stats, products, gains), alone, strict=True):
        assert jax.tree.structure(got) == jax.tree.structure(want)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, want)


def test_the_logits_of_a_plan_are_among_them():
    def build(width):
        def fn(params, x):
            q, k = (jnp.einsum("td,dhc->thc", x, params[name]) for name in "qk")
            return jnp.einsum("qhc,khc->hqk", q, k) / q.shape[-1] ** 0.5

        return fn, {name: jnp.ones((5, HEADS, width // HEADS)) for name in "qk"}

    x = np.ones((LENGTH, 5), np.float32)
    plan = mupwd.family(build, base=8, inputs=(x,)).plan(32, form="forward")
    [logits] = plan.logits
    fn, params = build(32)
    for run in (fn, mupwd.apply_forward(fn, plan)):
        _, products = activation_products(run)(params, x)
        assert list(products) == [logits.source]
