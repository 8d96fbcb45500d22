"""apply_forward against the same model with the factors written by hand."""

import re
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import tied
from helpers.tied import BASE, FRAMEWORKS, TARGET, TOKENS, VOCABULARY
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import mupwd

FACTOR = BASE / TARGET


def plan_of(build, **options):
    family = mupwd.family(lambda width: build(width), base=BASE, inputs=(TOKENS,))
    return family.plan(TARGET, form="forward", **options)


def assert_close(got, want, rtol=1e-5):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), got, want)


def loss(logits):
    labels = jnp.roll(TOKENS, -1, axis=1)[..., None]
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels, axis=-1))


@pytest.fixture(scope="module")
def applied():
    """(the plain model with its factor applied, with it written by hand, without it, its parameters)."""
    fn, params = tied.plain(TARGET)
    by_hand, _ = tied.plain(TARGET, FACTOR)
    return mupwd.apply_forward(fn, plan_of(tied.plain)), by_hand, fn, params


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_equals_the_factor_written_by_hand(framework):
    build = FRAMEWORKS[framework]
    plan = plan_of(build)
    [(path, factor)] = plan.forward.items()
    assert plan[path].role == "tied"
    assert factor == FACTOR

    fn, params = build(TARGET)
    by_hand, same = build(TARGET, FACTOR)
    applied = mupwd.apply_forward(fn, plan)
    jit, differentiate = (nnx.jit, nnx.grad) if framework == "nnx, whole" else (jax.jit, jax.grad)

    @partial(jit, static_argnums=0)
    def run(f, params):
        return f(params, TOKENS), differentiate(lambda params: loss(f(params, TOKENS)))(params)

    got, want = run(applied, params), run(by_hand, same)
    assert_close(jax.tree.leaves(got), jax.tree.leaves(want))
    assert not np.allclose(jit(fn)(params, TOKENS), want[0], rtol=1e-2)


def test_nothing_to_apply_returns_the_function_itself():
    fn, _ = tied.plain(BASE)
    family = mupwd.family(tied.plain, base=BASE, inputs=(TOKENS,))
    assert mupwd.apply_forward(fn, family.plan(BASE, form="forward")) is fn
    assert mupwd.apply_forward(fn, family.plan(TARGET, recipe="sp", form="forward")) is fn


@pytest.mark.parametrize(
    "transform",
    [
        jax.jit,
        lambda f: jax.jit(jax.checkpoint(f)),
        lambda f: lambda p, t: jax.vmap(f, in_axes=(None, 0))(p, t[:, None]),
        lambda f: lambda p, t: jax.lax.map(lambda row: f(p, row[None]), t),
        lambda f: lambda p, t: jax.jvp(lambda p: f(p, t), (p,), (p,)),
        lambda f: jax.jit(
            lambda p, t: jax.hessian(lambda s: f({**p, "hidden": p["hidden"] * s}, t).sum())(1.0)
        ),
    ],
    ids=["jit", "remat", "vmap", "map", "jvp", "hessian"],
)
def test_under_transformations(applied, transform):
    got, by_hand, _, params = applied
    got, want = (jax.jit(transform(f))(params, TOKENS) for f in (got, by_hand))
    assert_close(got, want, rtol=1e-4)


def chunked(params, tokens, *, factor=1.0):
    """A readout inside a scan inside a checkpoint, as losses over long sequences are computed."""
    x = jnp.tanh(params["embedding"][tokens] @ params["hidden"])

    @jax.checkpoint
    def chunk(total, xs):
        logits = factor * (xs @ params["embedding"].T)
        return total + jax.nn.logsumexp(logits, axis=-1).sum(), logits.argmax(-1)

    return jax.lax.scan(chunk, jnp.zeros(()), jnp.swapaxes(x, 0, 1))


def test_readout_inside_a_scan():
    _, params = tied.plain(TARGET)
    plan = plan_of(lambda width: (chunked, tied.plain(width)[1]))
    applied = mupwd.apply_forward(chunked, plan)
    by_hand = partial(chunked, factor=FACTOR)
    assert_close(applied(params, TOKENS), by_hand(params, TOKENS))
    got, want = (jax.jit(jax.grad(lambda p, f=f: f(p, TOKENS)[0]))(params) for f in (applied, by_hand))
    assert_close(got, want)


def test_readout_inside_while_and_cond():
    def fn(params, tokens, factor=1.0):
        readout = lambda x: factor * (x @ params["embedding"].T)  # noqa: E731
        x = params["embedding"][tokens].mean(1) @ params["hidden"]
        start = (0, jnp.zeros((len(tokens), VOCABULARY)))
        _, y = jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] + readout(x)), start)
        return jax.lax.cond(y.sum() > 0, lambda x: y + readout(x), lambda x: y - readout(x), x)

    _, params = tied.plain(TARGET)
    plan = plan_of(lambda width: (fn, tied.plain(width)[1]))
    assert_close(
        jax.jit(mupwd.apply_forward(fn, plan))(params, TOKENS), fn(params, TOKENS, factor=FACTOR), rtol=1e-4
    )


def test_sharded_inputs_keep_their_sharding(applied):
    got, by_hand, _, params = applied
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    columns = NamedSharding(mesh, PartitionSpec(None, "model"))
    placed = jax.tree.map(lambda w: jax.device_put(w, columns), params)
    tokens = jax.device_put(TOKENS, rows)
    ours = jax.jit(got, out_shardings=rows)(placed, tokens)
    theirs = jax.jit(by_hand, out_shardings=rows)(placed, tokens)
    assert ours.sharding == theirs.sharding
    assert_close(ours, theirs)
    gradients = jax.jit(jax.grad(lambda p: loss(got(p, tokens))))(placed)
    assert gradients["hidden"].sharding.is_equivalent_to(columns, 2)


def test_explicit_meshes():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,))
    _, params = tied.plain(TARGET)
    readout = lambda params, x, factor=1.0: factor * (x @ params["embedding"].T)  # noqa: E731
    plan = plan_of(tied.plain)
    with jax.set_mesh(mesh):
        x = jax.device_put(np.ones((8, TARGET), np.float32), PartitionSpec("data"))
        got = jax.jit(mupwd.apply_forward(readout, plan))(params, x)
        want = jax.jit(partial(readout, factor=FACTOR))(params, x)
    assert got.sharding == want.sharding
    assert_close(got, want)


@pytest.mark.parametrize("outside", [False, True])
def test_in_shard_map(applied, outside):
    got, by_hand, fn, params = applied
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    over_rows = partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec("data")),
        out_specs=PartitionSpec("data"),
    )
    ours = mupwd.apply_forward(over_rows(fn), plan_of(tied.plain)) if outside else over_rows(got)
    assert_close(jax.jit(ours)(params, TOKENS), by_hand(params, TOKENS))
    got_gradients = jax.jit(jax.grad(lambda p: loss(ours(p, TOKENS))))(params)
    assert_close(got_gradients, jax.grad(lambda p: loss(by_hand(p, TOKENS)))(params), rtol=1e-4)


def test_keyword_arguments_and_results_that_are_no_arrays():
    fn, params = tied.plain(TARGET)

    def wrapped(params, tokens, *, shift, name, mask=None):
        assert mask is None
        return {"logits": fn(params, tokens) + shift, "name": name, "count": 3, "nothing": None}

    applied = mupwd.apply_forward(wrapped, plan_of(tied.plain))
    out = applied(params, TOKENS, shift=np.float32(0.5), name="tied")
    assert (out["name"], out["count"], out["nothing"]) == ("tied", 3, None)
    by_hand, _ = tied.plain(TARGET, FACTOR)
    assert_close(out["logits"], by_hand(params, TOKENS) + 0.5)


def test_bfloat16_stays_bfloat16(applied):
    got, _, _, params = applied
    half = jax.tree.map(lambda w: w.astype(jnp.bfloat16), params)
    assert got(half, TOKENS).dtype == jnp.bfloat16


def test_a_function_without_the_readout_is_an_error():
    applied = mupwd.apply_forward(lambda params, tokens: params["embedding"][tokens], plan_of(tied.plain))
    with pytest.raises(
        mupwd.TraceError, match=r"embedding has the forward factor 0\.25, but fn has no product"
    ):
        applied(tied.plain(TARGET)[1], TOKENS)


def test_a_readout_that_cannot_be_followed_is_an_error():
    def decomposed(params, tokens):
        return jnp.linalg.qr(params["embedding"].T)[0] @ jnp.ones((len(params["embedding"]), 3))

    applied = mupwd.apply_forward(decomposed, plan_of(tied.plain))
    message = r"embedding: goes through .* not understood\. Met in \w+ at test_apply_forward\.py:\d+"
    with pytest.raises(mupwd.TraceError, match=message):
        applied(tied.plain(TARGET)[1], TOKENS)


def test_parameters_of_another_width_are_an_error(applied):
    with pytest.raises(mupwd.PlanError, match="embedding"):
        applied[0](tied.plain(BASE)[1], TOKENS)


def test_a_readout_with_a_derivative_of_its_own_is_an_error():
    @jax.custom_vjp
    def readout(x, w):
        return x @ w.T

    readout.defvjp(lambda x, w: (readout(x, w), (x, w)), lambda saved, g: (g @ saved[1], g.T @ saved[0]))

    def fn(params, tokens):
        return readout(params["embedding"][tokens].mean(1) @ params["hidden"], params["embedding"])

    applied = mupwd.apply_forward(fn, plan_of(lambda width: (fn, tied.plain(width)[1])))
    with pytest.raises(mupwd.TraceError, match=r"custom_vjp_call.* at test_apply_forward\.py:\d+.*by hand"):
        applied(tied.plain(TARGET)[1], TOKENS)


# Residual branches, for recipes with depth.

BASE_LAYERS, LAYERS = 2, 6


def residual(width, layers, *, scanned, branch=1.0, factor=1.0):
    def block(x, layer):
        y = jnp.tanh(x @ layer["up"]) @ layer["down"]
        return x + branch * y

    def fn(params, x):
        x = x @ params["first"]
        if scanned:
            x = jax.lax.scan(lambda x, layer: (block(x, layer), None), x, params["layers"])[0]
        else:
            for layer in params["layers"]:
                x = block(x, layer)
        return factor * (x @ params["head"])

    keys = iter(jax.random.split(jax.random.key(0), 2 * layers + 2))
    normal = lambda *shape: jax.random.normal(next(keys), shape) / shape[0] ** 0.5  # noqa: E731
    stack = [{"up": normal(width, 2 * width), "down": normal(2 * width, width)} for _ in range(layers)]
    tree = jax.tree.map(lambda *leaves: jnp.stack(leaves), *stack) if scanned else stack
    return fn, {"first": normal(3, width), "layers": tree, "head": normal(width, 2)}


@pytest.mark.parametrize("scanned", [False, True], ids=["unrolled", "scanned"])
def test_residual_branches(scanned):
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    family = mupwd.family(lambda width: residual(width, BASE_LAYERS, scanned=scanned), base=BASE, inputs=(x,))
    fn, params = residual(TARGET, LAYERS, scanned=scanned)
    plan = family.plan(params, recipe="completep", form="forward", depth_ratio=LAYERS / BASE_LAYERS)
    assert plan.forward == {"head": FACTOR}
    by_hand, _ = residual(TARGET, LAYERS, scanned=scanned, branch=BASE_LAYERS / LAYERS, factor=FACTOR)
    applied = mupwd.apply_forward(fn, plan)
    got, want = (
        jax.jit(jax.value_and_grad(lambda p, f=f: jnp.square(f(p, x)).mean()))(params)
        for f in (applied, by_hand)
    )
    assert_close(got, want)


def parallel(width, layers, *, scanned, branch=1.0):
    """Attention and MLP of one norm, side by side: `x + f(x) + g(x)`, from the left."""

    def block(x, layer):
        h = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6)
        return x + branch * (jnp.tanh(h @ layer["a"]) @ layer["c"]) + branch * (h @ layer["b"]), None

    def fn(params, x):
        x = x @ params["first"]
        if scanned:
            return jax.lax.scan(block, x, params["layers"])[0] @ params["head"]
        for i in range(layers):
            x, _ = block(x, jax.tree.map(lambda w, i=i: w[i], params["layers"]))
        return x @ params["head"]

    keys = iter(jax.random.split(jax.random.key(0), 5))
    normal = lambda *shape: jax.random.normal(next(keys), shape) / shape[-2] ** 0.5  # noqa: E731
    stack = {name: normal(layers, width, width) for name in "abc"}
    return fn, {"first": normal(3, width), "layers": stack, "head": normal(width, 2)}


@pytest.mark.parametrize("scanned", [False, True], ids=["unrolled", "scanned"])
def test_branches_beside_each_other(scanned):
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    family = mupwd.family(lambda width: parallel(width, BASE_LAYERS, scanned=scanned), base=BASE, inputs=(x,))
    fn, params = parallel(BASE, LAYERS, scanned=scanned)
    plan = family.plan(params, recipe="completep", form="forward", depth_ratio=LAYERS / BASE_LAYERS)
    assert {path for path, p in plan.items() if p.parameter.residual} == {"layers/a", "layers/b", "layers/c"}
    by_hand, _ = parallel(BASE, LAYERS, scanned=scanned, branch=BASE_LAYERS / LAYERS)
    want = jax.jit(by_hand)(params, x)
    assert_close(jax.jit(mupwd.apply_forward(fn, plan))(params, x), want)
    assert_close(jax.jit(fn)(plan.fold(params), x), want)


def operations(fn, *args):
    """How often each operation occurs in the compiled program, and the scratch memory it needs."""
    compiled = jax.jit(fn).lower(*args).compile()
    return Counter(
        re.findall(r"= \S+ ([\w-]+)\(", compiled.as_text())
    ), compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("framework", ["plain", "linen"])
def test_compiles_to_the_program_that_is_written_by_hand(framework):
    build = FRAMEWORKS[framework]
    fn, params = build(TARGET)
    by_hand, _ = build(TARGET, FACTOR)
    applied = mupwd.apply_forward(fn, plan_of(build))
    step = lambda f: jax.value_and_grad(lambda p, t: loss(f(p, t)))  # noqa: E731
    got, want = (operations(step(f), params, TOKENS) for f in (applied, by_hand))
    assert got == want
    assert got[0]["fusion"] > 0
