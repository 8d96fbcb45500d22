"""Factors folded into weights: the untouched model gives what the model with forward factors gives."""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import tied

import mupwd
from mupwd.plan import PlanError

BASE, TARGET, BASE_LAYERS, LAYERS = 8, 32, 2, 4
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


class _LinenBlock(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        h = nn.gelu(nn.Dense(2 * self.width, name="up")(nn.LayerNorm(name="norm")(x)))
        return x + nn.Dense(self.width, name="down")(h)


class _Linen(nn.Module):
    width: int
    layers: int

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.width, name="first")(x)
        for layer in range(self.layers):
            x = _LinenBlock(self.width, name=f"block_{layer}")(x)
        return nn.Dense(4, name="head")(nn.LayerNorm(name="norm")(x))


class _NnxBlock(nnx.Module):
    def __init__(self, width, rngs):
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 2 * width, rngs=rngs)
        self.down = nnx.Linear(2 * width, width, rngs=rngs)
        self.drop = nnx.Dropout(0.1, deterministic=True, rngs=rngs)

    def __call__(self, x):
        return x + self.drop(self.down(nnx.silu(self.up(self.norm(x)))))


class _Nnx(nnx.Module):
    def __init__(self, width, layers, rngs):
        self.first = nnx.Linear(3, width, rngs=rngs)
        self.blocks = nnx.List([_NnxBlock(width, rngs) for _ in range(layers)])
        self.head = nnx.Linear(width, 4, rngs=rngs)

    def __call__(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = nnx.remat(_NnxBlock.__call__)(block, x)
        return self.head(x)


class _Equinox(eqx.Module):
    first: eqx.nn.Linear
    up: list
    down: list
    scale: list
    head: eqx.nn.Linear

    def __init__(self, width, layers):
        keys = iter(jax.random.split(jax.random.key(0), 2 * layers + 2))
        self.first = eqx.nn.Linear(3, width, key=next(keys))
        self.up = [eqx.nn.Linear(width, 2 * width, key=next(keys)) for _ in range(layers)]
        self.down = [eqx.nn.Linear(2 * width, width, key=next(keys)) for _ in range(layers)]
        self.scale = [0.5 * jnp.ones(width) for _ in range(layers)]
        self.head = eqx.nn.Linear(width, 4, key=next(keys))

    def __call__(self, x):
        def one(x):
            x = self.first(x)
            for up, down, scale in zip(self.up, self.down, self.scale, strict=True):
                x = x + scale * down(jnp.tanh(up(x)))
            return self.head(x)

        return jax.vmap(one)(x)


def linen(width, layers):
    module = _Linen(width, layers)
    return (lambda params, x: module.apply(params, x)), module.init(jax.random.key(0), X)


def whole_nnx(width, layers):
    return (lambda model, x: model(x)), _Nnx(width, layers, nnx.Rngs(0))


def equinox(width, layers):
    return (lambda model, x: model(x)), _Equinox(width, layers)


def haiku(width, layers):
    def forward(x):
        x = hk.Linear(width, name="first")(x)
        for _ in range(layers):
            x = x + hk.Linear(width, name="down")(jnp.tanh(hk.Linear(2 * width, name="up")(x)))
        return hk.Linear(4, name="head")(x)

    transformed = hk.without_apply_rng(hk.transform(forward))
    with jax.numpy_rank_promotion("allow"):
        params = transformed.init(jax.random.key(0), X)

    def fn(params, x):
        with jax.numpy_rank_promotion("allow"):  # haiku adds its biases so
            return transformed.apply(params, x)

    return fn, params


def scanned(width, layers):
    def block(x, layer):
        h = jax.nn.relu(x @ layer["up"])
        return x + (h @ layer["down"] + layer["bias"][None]), None

    def fn(params, x):
        x, _ = jax.lax.scan(block, x @ params["first"], params["layers"])
        return jnp.tanh(x @ params["head"])

    keys = iter(jax.random.split(jax.random.key(0), 5))
    normal = lambda *shape: jax.random.normal(next(keys), shape) / shape[-2] ** 0.5  # noqa: E731
    stack = {
        "up": normal(layers, width, 2 * width),
        "down": normal(layers, 2 * width, width),
        "bias": normal(layers, width),
    }
    return fn, {"first": normal(3, width), "layers": stack, "head": normal(width, 4)}


FRAMEWORKS = {"linen": linen, "nnx": whole_nnx, "equinox": equinox, "haiku": haiku, "scanned": scanned}


@pytest.fixture(scope="module", params=FRAMEWORKS)
def deep(request):
    """(fn, parameters, plan with factors on the readout and on residual branches)."""
    build = FRAMEWORKS[request.param]
    family = mupwd.family(lambda width: build(width, BASE_LAYERS), base=BASE, inputs=(X,))
    fn, params = build(TARGET, LAYERS)
    return fn, params, family.plan(params, recipe="completep", form="forward", depth_ratio=2.0)


def assert_same(got, want):
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
    for a, b in pairs:
        if jnp.issubdtype(a.dtype, jnp.inexact):
            np.testing.assert_array_equal(a, b)


def test_the_untouched_model_gives_what_the_model_with_factors_gives(deep):
    fn, params, plan = deep
    exported = plan.fold(params)
    assert jax.tree.structure(exported) == jax.tree.structure(params)
    run = jax.jit(fn)
    logits = run(exported, X)
    # XLA may sum in another order; one by one the operations are exact, as the factors are powers of two.
    np.testing.assert_allclose(
        logits, jax.jit(mupwd.apply_forward(fn, plan))(params, X), rtol=1e-5, atol=1e-6
    )
    assert not np.allclose(run(params, X), logits, rtol=1e-2)
    assert_same(plan.unfold(exported), params)


def test_only_the_last_parameters_of_a_branch_are_scaled():
    family = mupwd.family(lambda width: scanned(width, BASE_LAYERS), base=BASE, inputs=(X,))
    _, params = scanned(TARGET, LAYERS)
    plan = family.plan(params, recipe="completep", form="forward", depth_ratio=2.0)
    ones = jax.tree.map(jnp.ones_like, params)
    factors = {
        path: float(leaf.ravel()[0]) for path, leaf in mupwd.paths.named_leaves(plan.fold(ones)).items()
    }
    assert factors == {
        "first": 1.0,
        "head": 0.25,
        "layers/bias": 0.5,
        "layers/down": 0.5,
        "layers/up": 1.0,
    }


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_other_factors_come_back_to_rounding_and_keep_the_dtype(dtype):
    family = mupwd.family(lambda width: scanned(width, 2), base=BASE, inputs=(X,))
    _, params = scanned(24, 2)
    params = jax.tree.map(lambda w: w.astype(dtype), params)
    plan = family.plan(params, form="forward")
    exported = plan.fold(params)
    assert exported["head"].dtype == dtype
    tolerance = 2 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(
        np.asarray(plan.unfold(exported)["head"], np.float32),
        np.asarray(params["head"], np.float32),
        rtol=tolerance,
    )


def test_a_plan_without_factors_changes_nothing():
    family = mupwd.family(lambda width: scanned(width, 2), base=BASE, inputs=(X,))
    _, params = scanned(TARGET, 2)
    plan = family.plan(TARGET)
    assert all(a is b for a, b in zip(*map(jax.tree.leaves, (plan.fold(params), params)), strict=True))


def test_a_part_of_the_tree_or_another_one_is_refused(deep):
    _, params, plan = deep
    arrays = dict(list(mupwd.paths.named_leaves(params).items())[:-1])
    nested = [{"w": leaf} for leaf in arrays.values()]
    with pytest.raises(
        PlanError, match=r"parameter\(s\) of the plan are not in the tree.*in the whole tree at once"
    ):
        plan.fold(nested)


def test_parameters_of_another_width_are_refused():
    family = mupwd.family(lambda width: scanned(width, 2), base=BASE, inputs=(X,))
    with pytest.raises(PlanError, match="have another shape"):
        family.plan(TARGET).fold(scanned(BASE, 2)[1])


@pytest.mark.parametrize("framework", ["linen", "nnx, whole"])
def test_a_tied_parameter_is_refused_by_name(framework):
    build = tied.FRAMEWORKS[framework]
    family = mupwd.family(lambda width: build(width), base=tied.BASE, inputs=(tied.TOKENS,))
    plan = family.plan(tied.TARGET, form="forward")
    with pytest.raises(
        PlanError, match=r"embedding\S* is used as an input and as an output.*readout is a parameter of its"
    ):
        plan.fold(build(tied.TARGET)[1])


def branch_of(branch):
    def build(width, layers):
        def fn(params, x):
            x = x @ params["first"]
            for layer in params["layers"]:
                x = branch(x, layer)
            return x @ params["head"]

        keys = iter(jax.random.split(jax.random.key(0), 2 * layers + 2))
        normal = lambda *shape: jax.random.normal(next(keys), shape)  # noqa: E731
        layers_ = [{"up": normal(width, width), "down": normal(width, width)} for _ in range(layers)]
        return fn, {"first": normal(3, width), "layers": layers_, "head": normal(width, 4)}

    return build


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        (
            lambda x, p: x + jnp.tanh(x @ p["up"] @ p["down"]),
            r"layers/0/.*ends at test_fold.*in no parameter",
        ),
        (
            lambda x, p: x + jnp.square(x @ p["up"]) @ p["down"] + jnp.tanh(x @ p["down"]),
            r"layers/\d/.*cannot be folded",
        ),
    ],
)
def test_a_branch_that_cannot_take_its_factor_is_refused_by_name(branch, message):
    build = branch_of(branch)
    family = mupwd.family(lambda width: build(width, 2), base=BASE, inputs=(X,))
    _, params = build(TARGET, 4)
    plan = family.plan(params, recipe="completep", form="forward", depth_ratio=2.0)
    with pytest.raises(
        PlanError, match=message + r"(?s:.*)Multiply the branch by plan.residual_scale in the model"
    ):
        plan.fold(params)


def _complex(x, p):
    pairs = (x @ p["up"]).reshape(*x.shape[:-1], -1, 2)
    turned = jax.lax.complex(pairs[..., 0], pairs[..., 1]) * np.exp(0.3j).astype(np.complex64)
    return x + jnp.stack([turned.real, turned.imag], -1).reshape(x.shape) @ p["down"]


def _watched(x, p):
    h = jnp.tanh(x @ p["up"]) @ p["down"]
    jax.debug.callback(lambda h: None, h)
    return x + h


@pytest.mark.parametrize("branch", [_complex, _watched])
def test_rotations_and_prints_do_not_keep_a_factor_out(branch):
    build = branch_of(branch)
    family = mupwd.family(lambda width: build(width, 2), base=BASE, inputs=(X,))
    fn, params = build(TARGET, 4)
    plan = family.plan(params, recipe="completep", form="forward", depth_ratio=2.0)
    for layer, exported in zip(params["layers"], plan.fold(params)["layers"], strict=True):
        np.testing.assert_array_equal(exported["down"], layer["down"] / 2)
    np.testing.assert_allclose(fn(plan.fold(params), X), mupwd.apply_forward(fn, plan)(params, X), rtol=1e-5)


def test_an_imaginary_constant_is_not_a_zero():
    build = branch_of(
        lambda x, p: x + jnp.abs((jnp.tanh(x @ p["up"]) @ p["down"]).astype(jnp.complex64) + 1j)
    )
    family = mupwd.family(lambda width: build(width, 2), base=BASE, inputs=(X,))
    _, params = build(TARGET, 4)
    plan = family.plan(params, recipe="completep", form="forward", depth_ratio=2.0)
    with pytest.raises(
        PlanError, match=r"layers/0/down.*cannot be folded into weights: it meets at test_fold"
    ):
        plan.fold(params)


def readout_of(use, **extra):
    def build(width, seed=0):
        keys = jax.random.split(jax.random.key(seed), 2)
        params = {"up": jax.random.normal(keys[0], (3, width)), "out": jax.random.normal(keys[1], (width, 2))}
        return (lambda params, x: jnp.tanh(x @ params["up"]) @ use(params)), params | extra

    return build


def _normalised(p):
    return p["out"] / jnp.linalg.norm(p["out"], axis=0, keepdims=True)


def _rounded(p):
    return p["out"] + jax.lax.stop_gradient(jnp.round(p["out"] * 4) / 4 - p["out"])


@pytest.mark.parametrize("use", [_normalised, _rounded])
def test_a_readout_that_is_normalised_or_rounded_has_no_folded_form(use):
    build = readout_of(use)
    family = mupwd.family(build, base=BASE, inputs=(X,))
    with pytest.raises(PlanError, match=r"out is a readout that .* at test_fold.*form='forward'"):
        family.plan(TARGET)
    plan = family.plan(TARGET, form="forward")
    fn, params = build(TARGET)
    np.testing.assert_allclose(mupwd.apply_forward(fn, plan)(params, X), fn(params, X) / 4, rtol=1e-6)
    with pytest.raises(
        PlanError, match=r"out is normalised or rounded before it is used at test_fold.*0\.25"
    ):
        plan.fold(params)
    assert mupwd.Plan.from_json(plan.to_json())["out"].parameter.altered


def test_what_comes_after_the_norm_takes_the_readouts_factor():
    build = readout_of(lambda p: _normalised(p) * p["gain"][None], gain=jnp.ones(2))
    family = mupwd.family(build, base=BASE, inputs=(X,))
    plan = family.plan(TARGET, form="forward")
    fn, params = build(TARGET)
    exported = plan.fold(params)
    np.testing.assert_array_equal(exported["gain"], [0.25, 0.25])
    np.testing.assert_array_equal(exported["out"], params["out"])
    np.testing.assert_allclose(fn(exported, X), mupwd.apply_forward(fn, plan)(params, X), rtol=1e-6)


def test_a_readout_in_another_layout_is_still_proportional():
    build = readout_of(
        lambda p: jnp.concatenate([p["out"].T[:1], -p["out"].T[1:]]).T.astype(jnp.float32) * 0.5
    )
    plan = mupwd.family(build, base=BASE, inputs=(X,)).plan(TARGET)
    assert plan["out"].lr == 0.25
