"""Attention whose head_dim grows: stated to the user, refused in folded form, applied by apply_forward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mupwd

HEADS, BASE = 2, 16
X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def drawn(width, seed, square="qkv"):
    """Parameters of a network whose matrices are square between a stem and a readout."""
    shapes = {"stem": (3, width), **dict.fromkeys(square, (width, width)), "out": (width, 4)}
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {
        name: jax.random.normal(key, shape) / np.float32(np.sqrt(shape[0]))
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def attention(scale, *, early=False):
    """A family's build; `scale(head_dim)` multiplies the logits, or the queries where `early`."""

    def build(width, seed=0):
        params = drawn(width, seed)

        def fn(params, x):
            head_dim = width // HEADS
            h = x @ params["stem"]

            def heads(kernel):
                return (h @ kernel).reshape(*h.shape[:2], HEADS, head_dim)

            q, k, v = (heads(params[name]) for name in "qkv")
            q = q * scale(head_dim) if early else q
            logits = jnp.einsum("bthd,bshd->bhts", q, k)
            logits = logits if early else logits * scale(head_dim)
            mixed = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(logits), v)
            return mixed.reshape(h.shape) @ params["out"]

        return fn, params

    return build


def usual(head_dim):
    return head_dim**-0.5


def mup(head_dim):
    return (BASE // HEADS) ** 0.5 / head_dim


@pytest.mark.parametrize("early", [False, True])
def test_the_usual_scale_is_reported_and_refused_in_folded_form(early):
    family = mupwd.family(attention(usual, early=early), base=BASE, inputs=(X,))
    (logits,) = family.logits
    assert logits.size == BASE // HEADS
    assert logits.exponent == -0.5
    assert family.parameters["q"].role == "matrix"
    assert family.parameters["q"].scale_exponent == 0
    with pytest.raises(
        mupwd.PlanError, match=r"test_logits\.py:\d+.*head_dim.*Three ways out.*apply_forward"
    ):
        family.plan(64)


@pytest.mark.parametrize("early", [False, True])
def test_the_right_scale_needs_nothing(early):
    family = mupwd.family(attention(mup, early=early), base=BASE, inputs=(X,))
    plan = family.plan(64)
    assert plan.logits == ()
    fn, _ = attention(mup, early=early)(64)
    assert mupwd.apply_forward(fn, plan) is fn


def test_a_control_leaves_the_scale_alone():
    family = mupwd.family(attention(usual), base=BASE, inputs=(X,))
    assert family.plan(64, recipe="sp").logits == ()


@pytest.mark.parametrize("early", [False, True])
def test_apply_forward_equals_the_scale_written_by_hand(early):
    family = mupwd.family(attention(usual, early=early), base=BASE, inputs=(X,))
    plan = family.plan(64, form="forward")
    fn, params = attention(usual, early=early)(64)
    by_hand, _ = attention(mup, early=early)(64)
    applied = mupwd.apply_forward(fn, plan)
    readout = plan.forward["out"]

    def loss(f, factor):
        return jax.value_and_grad(lambda p: jnp.sum(jnp.square(f(p, X) * factor)))(params)

    got, want = loss(applied, 1.0), loss(by_hand, readout)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), got, want)
    assert abs(float(loss(fn, readout)[0]) - float(want[0])) > 1e-4 * float(want[0])


def test_a_plan_with_logits_survives_its_file(tmp_path):
    family = mupwd.family(attention(usual), base=BASE, inputs=(X,))
    plan = family.plan(64, form="forward")
    plan.save(tmp_path / "plan.json")
    assert mupwd.Plan.load(tmp_path / "plan.json") == plan
    family.save(tmp_path / "family.json")
    assert mupwd.Family.load(tmp_path / "family.json").logits == family.logits


def test_a_scale_that_is_no_power_of_head_dim_is_refused():
    with pytest.raises(mupwd.TraceError, match="no power of its size"):
        mupwd.family(attention(lambda head_dim: 1 / (head_dim + 3)), base=BASE, inputs=(X,))


def test_a_product_that_is_not_where_the_plan_says_is_an_error():
    family = mupwd.family(attention(usual), base=BASE, inputs=(X,))
    plan = family.plan(64, form="forward")
    _, params = attention(usual)(64)
    with pytest.raises(mupwd.TraceError, match="no product of activations there"):
        mupwd.apply_forward(lambda p, x: x @ p["stem"] @ p["out"], plan)(params, X)


@pytest.mark.parametrize("early", [False, True])
def test_the_factor_is_folded_into_one_of_the_kernels(early):
    family = mupwd.family(attention(usual, early=early), base=BASE, inputs=(X,))
    plan = family.plan(64, form="forward")
    fn, params = attention(usual, early=early)(64)
    exported = plan.fold(params)
    changed = {name for name in params if not np.array_equal(params[name], exported[name])}
    assert changed in ({"q", "out"}, {"k", "out"})
    run = jax.jit(fn)
    np.testing.assert_allclose(run(exported, X), jax.jit(mupwd.apply_forward(fn, plan))(params, X), rtol=1e-5)
    assert not np.allclose(run(params | {"out": exported["out"]}, X), run(exported, X), rtol=1e-3)
    jax.tree.map(np.testing.assert_array_equal, plan.unfold(exported), params)


def test_logits_of_normalised_queries_and_keys_cannot_take_the_factor():
    def build(width):
        _, params = attention(usual)(width)

        def normalised(params, x):
            h = x @ params["stem"]
            unit = lambda y: y * jax.lax.rsqrt(jnp.mean(jnp.square(y), -1, keepdims=True) + 1e-6)  # noqa: E731
            q, k = (unit((h @ params[n]).reshape(2, 5, HEADS, width // HEADS)) for n in "qk")
            logits = jnp.einsum("bthd,bshd->bhts", q, k) * usual(width // HEADS)
            return jnp.einsum("bhts,bsd->btd", jax.nn.softmax(logits), h @ params["v"]) @ params["out"]

        return normalised, params

    plan = mupwd.family(build, base=BASE, inputs=(X,)).plan(64, form="forward")
    with pytest.raises(
        mupwd.PlanError, match=r"logits at test_logits\.py:\d+ cannot be folded.*sqrt\(base_head_dim\)"
    ):
        plan.fold(build(64)[1])


def two_attentions(heads, scale=usual):
    """Build of a model that calls one attention twice, with other numbers of heads: head_dims, where None is fixed."""

    def build(width, seed=0):
        params = drawn(width, seed, [f"{i}{name}" for i in range(len(heads)) for name in "qkv"])

        def attend(h, kernels, count):
            def cut(kernel):
                return (h @ kernel).reshape(*h.shape[:2], count, width // count)

            q, k, v = map(cut, kernels)
            logits = jnp.einsum("bthd,bshd->bhts", q, k) * scale(width // count)
            return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(logits), v).reshape(h.shape)

        def fn(params, x):
            h = x @ params["stem"]
            for i, count in enumerate(heads):
                h = h + attend(h, [params[f"{i}{name}"] for name in "qkv"], count or width // 4)
            return h @ params["out"]

        return fn, params

    return build


@pytest.mark.parametrize("heads", [(2, 4), (2, None)])
def test_logits_of_several_sizes_on_one_line_have_no_factor(heads):
    """One attention that is called with two head_dims: which product wants which factor cannot be told."""
    family = mupwd.family(two_attentions(heads), base=BASE, inputs=(X,))
    assert all(logits.mixed for logits in family.logits)
    with pytest.raises(
        mupwd.PlanError, match=r"test_logits\.py:\d+ over axes of several sizes.*Scale the logits"
    ):
        family.plan(64, form="forward")
    assert family.plan(64, recipe="sp").logits == ()


def test_other_products_on_the_line_of_the_logits_have_no_factor():
    """Attention in one expression: its weights times its values contract the same axes, over tokens."""

    def build(width, seed=0, scale=usual):
        params = drawn(width, seed)

        def fn(params, x):
            h = x @ params["stem"]
            q, k, v = (h @ params[name] for name in "qkv")
            return (jax.nn.softmax(q @ k.T * scale(width)) @ v) @ params["out"]

        return fn, params

    x = X[0]
    family = mupwd.family(build, base=BASE, inputs=(x,))
    assert [(one.size, one.mixed) for one in family.logits] == [(BASE, False)]
    plan = family.plan(64, form="forward")
    fn, params = build(64)
    by_hand, _ = build(64, scale=lambda head_dim: BASE**0.5 / head_dim)
    want = by_hand(params, x) * plan.forward["out"]
    np.testing.assert_allclose(mupwd.apply_forward(fn, plan)(params, x), want, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(fn(plan.fold(params), x), want, rtol=2e-5, atol=1e-6)


def test_logits_of_one_size_may_be_called_twice():
    """Two calls with one head_dim have one factor."""
    family = mupwd.family(two_attentions((2, 2)), base=BASE, inputs=(X,))
    assert [logits.mixed for logits in family.logits] == [False]
    plan = family.plan(64, form="forward")
    fn, params = two_attentions((2, 2))(64)
    by_hand, _ = two_attentions((2, 2), scale=mup)(64)
    want = by_hand(params, X) * plan.forward["out"]
    np.testing.assert_allclose(mupwd.apply_forward(fn, plan)(params, X), want, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("later", [False, True])
def test_queries_that_are_also_used_unscaled(later):
    """A gate, or a norm that is looked at, reads the query beside the scale of the logits."""

    def build(width, seed=0):
        params = drawn(width, seed)

        def fn(params, x):
            h = x @ params["stem"]
            q, k, v = (h @ params[name] for name in "qkv")
            gate = jnp.tanh(q)
            weights = jax.nn.softmax((q * width**-0.5) @ k.T)
            return (weights @ v * (jnp.tanh(q) if later else gate)) @ params["out"]

        return fn, params

    family = mupwd.family(build, base=BASE, inputs=(X[0],))
    assert [(one.size, one.exponent) for one in family.logits] == [(BASE, -0.5)]
    assert family.parameters["q"].role == "matrix"
    assert family.parameters["q"].scale_exponent == 0
