"""instrument against statistics computed with numpy, and the function's own results and gradients."""

import importlib
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import tied

import mupwd
from mupwd.diagnostics.instrument import UseStats, instrument
from mupwd.family.models import taken_apart

RNG = np.random.default_rng(0)


def rms(x):
    return np.sqrt(np.mean(np.square(np.asarray(x, np.float64))))


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def assert_close(got, want, rtol=1e-5, atol=1e-6):
    got, want = jax.tree.leaves(got), jax.tree.leaves(want)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def expected(x, y, bound, change):
    return UseStats(rms(x), rms(y), rms(y) / rms(x), rms(y) / bound, change)


MLP = {
    "up": normal(5, 8),
    "bias": normal(8),
    "gain": normal(8),
    "head": normal(8, 3),
    "unused": normal(2),
}
START = {name: w + 1e-3 * normal(*w.shape) for name, w in MLP.items()}


def mlp(params, x):
    h = jnp.tanh(x @ params["up"] + params["bias"][None])
    return (params["gain"][None] * h) @ params["head"]


def mlp_of_two(params, x):
    return jnp.tanh(x @ params["up"] + params["bias"][None]) @ params["down"]


def test_against_numpy():
    x = normal(7, 5)
    out, stats = jax.jit(instrument(mlp, since=START))(MLP, x)
    assert_close(out, mlp(MLP, x))
    up = x @ MLP["up"]
    h = np.tanh(up + MLP["bias"])
    g = h * MLP["gain"]
    y = g @ MLP["head"]
    delta = {name: MLP[name].astype(np.float64) - START[name] for name in MLP}
    norm = np.linalg.norm
    want = {
        "bias": [expected(up, up + MLP["bias"], rms(up) + rms(MLP["bias"]), rms(delta["bias"]))],
        "gain": [expected(h, g, rms(h) * rms(MLP["gain"]), rms(h * delta["gain"]))],
        "head": [expected(g, y, norm(g) * norm(MLP["head"]) / y.size**0.5, rms(g @ delta["head"]))],
        "unused": [],
        "up": [expected(x, up, norm(x) * norm(MLP["up"]) / up.size**0.5, rms(x @ delta["up"]))],
    }
    assert stats.keys() == want.keys()
    for name in want:
        assert_close(stats[name], want[name], rtol=2e-5)
        assert all(field.dtype == jnp.float32 for use in stats[name] for field in use)


def test_change_is_zero_at_the_start_and_absent_without_since():
    x = normal(7, 5)
    _, stats = instrument(mlp, since=MLP)(MLP, x)
    assert all(use.change == 0 for uses in stats.values() for use in uses)
    _, stats = instrument(mlp)(MLP, x)
    assert all(use.change is None for uses in stats.values() for use in uses)


def test_lookups_tokens_and_tied_embeddings():
    tokens = np.array([[0, 3], [3, 1]])

    def fn(params, tokens):
        x = params["table"][tokens]
        x = jnp.concatenate([jnp.broadcast_to(params["token"], (2, 1, 6)), x], axis=1)
        return x @ params["table"].T

    params = {"table": normal(4, 6), "token": normal(1, 1, 6)}
    start = {"table": normal(4, 6), "token": normal(1, 1, 6)}
    _, stats = instrument(fn, since=start)(params, tokens)
    rows, change = params["table"][tokens], (params["table"] - start["table"])[tokens]
    x = np.concatenate([np.broadcast_to(params["token"], (2, 1, 6)), rows], axis=1)
    y = x @ params["table"].T
    lookup, readout = stats["table"]
    assert_close(lookup, (1, rms(rows), rms(rows), rms(rows) / rms(params["table"]), rms(change)))
    bound = np.linalg.norm(x) * np.linalg.norm(params["table"]) / y.size**0.5
    assert_close(readout, expected(x, y, bound, rms(x @ (params["table"] - start["table"]).T)))
    [token] = stats["token"]
    size = rms(params["token"])
    assert_close(token, (1, size, size, 1, rms(params["token"] - start["token"])))


def test_a_product_written_out_equals_the_product():
    x, params, start = normal(7, 5), {"w": normal(5)}, {"w": normal(5)}
    _, product = instrument(lambda p, x: x @ p["w"], since=start)(params, x)
    _, written = instrument(lambda p, x: (x * p["w"][None]).sum(-1), since=start)(params, x)
    assert_close(written, product)


def test_copies_have_the_bound_of_each():
    x, params = normal(3, 7, 5), {"w": normal(3, 5, 4) * np.array([1, 10, 100], np.float32)[:, None, None]}
    _, stats = instrument(lambda p, x: jnp.einsum("eni,eio->eno", x, p["w"]))(params, x)
    norms = [(np.linalg.norm(x[e]) * np.linalg.norm(params["w"][e])) ** 2 for e in range(3)]
    y = np.einsum("eni,eio->eno", x, params["w"])
    assert_close(stats["w"][0].alignment, np.linalg.norm(y) / np.sqrt(sum(norms)))


def test_alignment_is_one_at_rank_one():
    u, v = normal(5), normal(4)
    x = normal(7)[:, None] * u[None]
    _, stats = instrument(lambda p, x: x @ p["w"])({"w": u[:, None] * v[None]}, x)
    assert_close(stats["w"][0].alignment, 1.0)


def test_convolution():
    x, kernel, start = normal(2, 9, 9, 3), normal(3, 3, 3, 4), normal(3, 3, 3, 4)
    dimensions = ("NHWC", "HWIO", "NHWC")
    conv = lambda p, x: jax.lax.conv_general_dilated(x, p["w"], (1, 1), "VALID", None, None, dimensions)  # noqa: E731
    _, stats = instrument(conv, since={"w": start})({"w": kernel}, x)
    y = conv({"w": kernel}, x)
    bound = 27 * rms(kernel) * rms(x)
    change = rms(conv({"w": kernel - start}, x))
    assert_close(stats["w"], [expected(x, y, bound, change)])


LAYERS = [{"up": normal(6, 12), "down": normal(12, 6), "gain": normal(6)} for _ in range(3)]
LAYERS_START = [{"up": normal(6, 12), "down": normal(12, 6), "gain": normal(6)} for _ in range(3)]


def block(x, layer):
    h = x * layer["gain"][None]
    return x + jnp.tanh(h @ layer["up"]) @ layer["down"]


def unrolled(params, x):
    for layer in params["layers"]:
        x = block(x, layer)
    return x @ params["head"]


def scanned(params, x, *, wrap=lambda f: f):
    step = wrap(lambda x, layer: (block(x, layer), None))
    return jax.lax.scan(step, x, params["layers"])[0] @ params["head"]


def indexed(params, x):
    def body(i, x):
        return block(x, jax.tree.map(lambda w: w[i], params["layers"]))

    return jax.lax.fori_loop(0, 3, body, x) @ params["head"]


def stack(layers):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *layers)


@pytest.fixture(scope="module")
def per_layer():
    x, head = normal(5, 6), normal(6, 2)
    params, start = ({"layers": layers, "head": head} for layers in (LAYERS, LAYERS_START))
    return x, head, instrument(unrolled, since=start)(params, x)


@pytest.mark.parametrize(
    "fn",
    [scanned, partial(scanned, wrap=jax.checkpoint), partial(scanned, wrap=jax.jit), indexed],
    ids=["scan", "remat", "jit", "indexed"],
)
def test_layers_in_a_loop_equal_unrolled_ones(per_layer, fn):
    x, head, (out, want) = per_layer
    params, start = ({"layers": stack(layers), "head": head} for layers in (LAYERS, LAYERS_START))
    got, stats = jax.jit(instrument(fn, since=start))(params, x)
    assert_close(got, out)
    for name in LAYERS[0]:
        [use] = stats[f"layers/{name}"]
        each = [want[f"layers/{i}/{name}"][0] for i in range(3)]
        assert_close(use, UseStats(*map(jnp.stack, zip(*each, strict=True))))
    assert_close(stats["head"], want["head"])


def test_time_steps_are_one_use():
    x, params = normal(4, 7, 5), {"w": normal(5, 5)}

    def fn(params, x):
        def step(h, row):
            h = jnp.tanh(h @ params["w"] + row)
            return h, h

        return jax.lax.scan(step, x[0], x[1:])[1]

    start = {"w": normal(5, 5)}
    _, stats = instrument(fn, since=start)(params, x)
    states = np.concatenate([x[:1], fn(params, x)[:-1]])
    y = states @ params["w"]
    bound = np.linalg.norm(states) * np.linalg.norm(params["w"]) / y.size**0.5
    assert_close(stats["w"], [expected(states, y, bound, rms(states @ (params["w"] - start["w"])))])


def test_while_loops_and_branches():
    def fn(params, x, flag):
        _, x = jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] @ params["loop"]), (0, x))
        return jax.lax.cond(flag, lambda x: x @ params["yes"], lambda x: x @ params["no"], x)

    x, params = normal(4, 5), {name: normal(5, 5) for name in ("loop", "yes", "no")}
    _, stats = jax.jit(instrument(fn, since=jax.tree.map(lambda w: w / 2, params)))(params, x, True)
    states = [x]
    for _ in range(3):
        states.append(states[-1] @ params["loop"])
    [loop], [yes], [no] = stats["loop"], stats["yes"], stats["no"]
    assert_close((loop.rms_in, loop.rms_out), (rms(states[:-1]), rms(states[1:])))
    assert_close(loop.change, loop.rms_out / 2)
    assert_close((yes.rms_in, yes.rms_out), (rms(states[-1]), rms(states[-1] @ params["yes"])))
    assert all(np.isnan(field) for field in no)


def test_lora_and_weight_normalisation_move_as_the_weights_that_they_make():
    def fn(params, x):
        norm = jnp.sqrt(jnp.square(params["v"]).sum(0, keepdims=True))
        x = x @ (params["v"] * params["g"][None] / norm)
        x = x @ (params["w"] + params["a"] @ params["b"])
        return x @ params["c"].reshape(2, 3, 4).transpose(1, 0, 2).reshape(6, 4).astype(jnp.bfloat16).astype(
            jnp.float32
        )

    shapes = {"v": (5, 6), "g": (6,), "w": (6, 6), "a": (6, 2), "b": (2, 6), "c": (2, 12)}
    params, start = ({k: normal(*s) for k, s in shapes.items()} for _ in range(2))
    x = normal(7, 5)
    _, stats = jax.jit(instrument(fn, since=start))(params, x)

    def weights(p):
        v = p["v"] * p["g"] / np.linalg.norm(p["v"], axis=0)
        c = p["c"].reshape(2, 3, 4).transpose(1, 0, 2).reshape(6, 4)
        return v, p["w"] + p["a"] @ p["b"], np.asarray(jnp.asarray(c, jnp.bfloat16), np.float32)

    (v, w, c), (v0, w0, c0) = weights(params), weights(start)
    cases = (("vg", x, v - v0), ("wab", x @ v, w - w0), ("c", x @ v @ w, c - c0))
    for names, meets, change in cases:
        for name in names:
            [use] = stats[name]
            assert_close((use.rms_in, use.change), (rms(meets), rms(meets @ change)), rtol=1e-4)


@pytest.mark.parametrize(
    "transform",
    [
        jax.checkpoint,
        lambda f: lambda p, x: jax.vmap(f, in_axes=(None, 0))(p, x[:, None]),
        lambda f: lambda p, x: jax.lax.map(lambda row: f(p, row[None]), x),
        jax.jit,
    ],
    ids=["remat", "vmap", "map", "jit"],
)
def test_transformations_inside(transform):
    x = normal(7, 5)
    _, want = instrument(mlp, since=START)(MLP, x)
    out, got = jax.jit(instrument(transform(mlp), since=START))(MLP, x)
    assert_close(out, transform(mlp)(MLP, x))
    assert_close(got, want)


def test_sizes_beyond_int32():
    shapes = {"w": jax.ShapeDtypeStruct((100_000, 60_000), jnp.float32)}
    x = jax.ShapeDtypeStruct((50_000, 100_000), jnp.float32)
    _, stats = jax.eval_shape(instrument(lambda p, x: x @ p["w"]), shapes, x)
    assert stats["w"][0].rms_out.shape == ()


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_sharded_parameters(kind):
    axis_type = getattr(jax.sharding.AxisType, kind)
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(axis_type,) * 2, devices=jax.devices()[:4])
    P = jax.sharding.PartitionSpec

    def fn(params, x):
        h = jnp.tanh(x @ params["up"] + params["bias"][None])
        return jnp.einsum(
            "bi,io->bo", h, params["down"], out_sharding=P("data") if kind == "Explicit" else None
        )

    specs = {"up": P(None, "model"), "bias": P("model"), "down": P("model")}
    params = {"up": normal(6, 8), "bias": normal(8), "down": normal(8, 4)}
    start, x = jax.tree.map(lambda w: w / 2, params), normal(4, 6)
    want_out, want = instrument(mlp_of_two, since=start)(params, x)
    with jax.set_mesh(mesh):
        put = lambda tree: {name: jax.device_put(w, specs[name]) for name, w in tree.items()}  # noqa: E731
        out, got = jax.jit(instrument(fn, since=put(start)))(put(params), jax.device_put(x, P("data")))
    assert_close(out, want_out)
    assert_close(got, want)


def test_vmap_over_models():
    models = stack([MLP, START])
    x = normal(7, 5)
    _, got = jax.jit(jax.vmap(instrument(mlp), in_axes=(0, None)))(models, x)
    want = [instrument(mlp)(params, x)[1] for params in (MLP, START)]
    assert_close(got, stack(want))


def test_in_shard_map():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    P = jax.sharding.PartitionSpec

    def looped(params, x):
        _, y = jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] @ params["w"]), (0, x))
        return jax.lax.cond(y.sum() > -1e9, lambda y: y @ params["yes"], lambda y: y @ params["no"], y)

    params = {name: normal(5, 5) for name in ("w", "yes", "no")}
    x = normal(8, 5)
    over_rows = jax.shard_map(looped, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"))
    out, got = jax.jit(instrument(over_rows))(params, x)
    want_out, want = instrument(looped)(params, x)
    assert_close(out, want_out)
    assert_close(got, want)


@pytest.mark.parametrize("fn", [scanned, partial(scanned, wrap=jax.checkpoint)], ids=["scan", "remat"])
def test_gradients_are_the_function_s_own(fn):
    params, x = {"layers": stack(LAYERS), "head": normal(6, 2)}, normal(5, 6)
    start = jax.tree.map(lambda w: 0.9 * w, params)

    loss = lambda params, x: jnp.square(fn(params, x)).mean()  # noqa: E731
    got, stats = jax.jit(jax.grad(instrument(loss, since=start), has_aux=True))(params, x)
    assert_close(got, jax.jit(jax.grad(loss))(params, x))
    assert_close(stats, instrument(fn, since=start)(params, x)[1])


def test_a_derivative_of_its_own_is_kept():
    @jax.custom_vjp
    def through(x, w):
        return jnp.sign(x @ w)

    through.defvjp(lambda x, w: (through(x, w), (x, w)), lambda saved, g: (g @ saved[1].T, saved[0].T @ g))
    params, x = {"w": normal(5, 4)}, normal(7, 5)
    f = lambda params, x: jnp.sum(through(x, params["w"]))  # noqa: E731
    got, stats = jax.grad(instrument(f), has_aux=True)(params, x)
    assert_close(got, jax.grad(f)(params, x))
    assert_close((stats["w"][0].rms_in, stats["w"][0].rms_out), (rms(x), rms(x @ params["w"])))


def test_bfloat16_is_measured_in_float32():
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.bfloat16), {"w": 1e3 * normal(300, 40)})
    x = jnp.asarray(normal(200, 300), jnp.bfloat16)
    out, stats = jax.jit(instrument(lambda p, x: x @ p["w"]))(params, x)
    assert out.dtype == jnp.bfloat16
    [use] = stats["w"]
    assert use.rms_in.dtype == jnp.float32
    assert_close((use.rms_in, use.rms_out), (rms(x), rms(out)), rtol=1e-3)


@pytest.mark.parametrize("framework", tied.FRAMEWORKS)
def test_frameworks(framework):
    fn, params = tied.FRAMEWORKS[framework](tied.BASE)
    jit = nnx.jit if framework == "nnx, whole" else eqx.filter_jit
    out, stats = jit(instrument(fn))(params, tied.TOKENS)
    assert_close(out, jit(fn)(params, tied.TOKENS))
    [tied_uses] = [uses for uses in stats.values() if len(uses) == 2]
    assert all(len(uses) == 1 for uses in stats.values() if uses is not tied_uses)
    assert float(tied_uses[0].rms_in) == 1


def test_states_of_an_nnx_model_change_as_in_the_call():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.up = nnx.Linear(5, 8, rngs=rngs)
            self.norm = nnx.BatchNorm(8, rngs=rngs)

        def __call__(self, x):
            return self.norm(self.up(x))

    plain, ours = Model(nnx.Rngs(0)), Model(nnx.Rngs(0))
    x = normal(7, 5)
    start = nnx.state(Model(nnx.Rngs(1)), nnx.Param)
    out, stats = instrument(lambda model, x: model(x), since=start)(ours, x)
    assert_close(out, plain(x))
    assert_close(nnx.state(ours), nnx.state(plain))
    assert stats.keys() == {"up/kernel", "up/bias", "norm/scale", "norm/bias"}


ZOO = (
    "equinox_gru",
    "haiku_conv1d",
    "linen_gpt",
    "linen_scanned",
    "nnx_convnet",
    "nnx_llama",
    "plain_control_flow",
    "plain_lora",
    "plain_moe",
    "plain_reparametrised",
)


@pytest.mark.parametrize("name", ZOO)
def test_zoo(name):
    model = importlib.import_module(f"zoo.{name}")
    native = model.build(32)
    apart = taken_apart(native, model.inputs, getattr(model, "call", None))
    arrays, others = eqx.partition(apart.params, eqx.is_inexact_array)
    arrays = jax.tree.map(lambda w: jnp.asarray(normal(*w.shape) / 8, w.dtype), arrays)

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(arrays):
        params = eqx.combine(arrays, others)
        fn = lambda params, *inputs: apart.fn((params, apart.rest), *inputs)  # noqa: E731
        return instrument(fn)(params, *model.inputs), fn(params, *model.inputs)

    (out, stats), want = run(arrays)
    assert_close(out, want, rtol=1e-4, atol=1e-4)
    assert {path for path, uses in stats.items() if not uses} <= {
        path for path, role in model.ROLES.items() if role == "unused"
    }


def test_a_parameter_that_cannot_be_followed_is_named():
    fn = lambda params, x: x @ jnp.linalg.qr(params["w"])[0]  # noqa: E731
    with pytest.raises(mupwd.TraceError, match=r"^w: goes through '\w+' at test_instrument\.py:\d+"):
        instrument(fn)({"w": normal(5, 5)}, normal(7, 5))


def test_references_that_do_not_fit_are_named():
    x = normal(7, 5)
    with pytest.raises(mupwd.TraceError, match=r"^up: since= has no parameter of that name"):
        instrument(mlp, since={k: v for k, v in MLP.items() if k != "up"})(MLP, x)
    with pytest.raises(
        mupwd.TraceError, match=r"^up: since= has it as float32\[5, 9\], params as float32\[5, 8\]"
    ):
        instrument(mlp, since={**MLP, "up": normal(5, 9)})(MLP, x)
