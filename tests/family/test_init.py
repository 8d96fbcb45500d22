"""family.init: what the model's own initialisation lacks to the rule, however the model initialises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mupwd
from mupwd.plan import PlanError

BASE, TARGET, DATA, OUT, RANK = 32, 256, 24, 16, 8
TOKENS = jax.ShapeDtypeStruct((2, 4), jnp.int32)
SHAPES = {
    "embed": lambda d: (DATA, d),
    "gain": lambda d: (d,),
    "hidden": lambda d: (d, 2 * d),
    "back": lambda d: (2 * d, d),
    "down": lambda d: (d, RANK),
    "up": lambda d: (RANK, d),
    "readout": lambda d: (d, OUT),
}
ROLES = {
    "embed": "input",
    "gain": "vector",
    "hidden": "matrix",
    "back": "matrix",
    "down": "narrow",
    "up": "wide",
    "readout": "output",
}
# docs/rules.md: the rule's standard deviation is the base's, times this power of the width ratio.
RULE = {"matrix": -0.5, "narrow": -1.0, "input": 0.0, "wide": 0.0, "vector": 0.0}
OUTPUT = {"folded": -1.0, "forward": 0.0}


def build_with(std, scale=lambda name, width: 1.0):
    """A build whose parameter `name` starts with `std(name, width)`, used times `scale(name, width)`."""

    def build(width, seed):
        def fn(params, tokens):
            w = {name: leaf * jnp.float32(scale(name, width)) for name, leaf in params.items()}
            x = w["embed"][tokens] * w["gain"][None, None]
            x = x + jax.nn.relu(x @ w["hidden"]) @ w["back"]
            x = x + jax.nn.relu(x @ w["down"]) @ w["up"]
            return x @ w["readout"]

        keys = jax.random.split(jax.random.key(seed), len(SHAPES))
        return fn, {
            name: jax.random.normal(key, shape(width)) * jnp.float32(std(name, width))
            for key, (name, shape) in zip(keys, SHAPES.items(), strict=True)
        }

    return build


def fan_in(name, width):
    return 1.0 if name == "gain" else SHAPES[name](width)[0] ** -0.5


def like_flax(name, width):
    """As flax: embeddings with 1/sqrt(width)."""
    return width**-0.5 if name == "embed" else fan_in(name, width)


STDS = {
    "fan_in": (fan_in, lambda name, width: 1.0),
    "constant": (lambda name, width: 0.02, lambda name, width: 1.0),
    "flax": (like_flax, lambda name, width: 1.0),
    # The values start with 1, the program multiplies.
    "ntk": (lambda name, width: 1.0, fan_in),
}


@pytest.fixture(scope="module", params=STDS)
def style(request):
    std, scale = STDS[request.param]
    build = build_with(std, scale)
    return build, scale, mupwd.family(build, base=BASE, inputs=(TOKENS,))


def test_roles_are_those_of_the_rule_below(style):
    assert {path: p.role for path, p in style[2].parameters.items()} == ROLES


@pytest.mark.parametrize("form", ["folded", "forward"])
def test_every_role_starts_by_the_rule_whatever_the_model_does(style, form):
    build, scale, family = style
    plan = family.plan(TARGET, form=form)
    base = build(BASE, 5)[1]
    made = family.init(TARGET, seed=5, plan=plan)
    m = TARGET / BASE
    for name, role in ROLES.items():
        effective = float(jnp.std(made[name])) * scale(name, TARGET) * plan[name].forward
        start = float(jnp.std(base[name])) * scale(name, BASE)
        # In both forms the readout's product starts m times smaller.
        expected = m ** (-1.0 if role == "output" else RULE[role])
        assert effective / start == pytest.approx(expected, rel=0.35 if name == "gain" else 0.15), name


def test_the_forms_differ_by_the_forward_factor_alone(style):
    plans = [style[2].plan(TARGET, form=form) for form in ("folded", "forward")]
    folded, forward = (style[2].init(TARGET, seed=1, plan=plan) for plan in plans)
    assert set(plans[1].forward) == {"readout"}
    for name in SHAPES:
        np.testing.assert_allclose(folded[name], forward[name] * plans[1][name].forward, rtol=1e-6)


def test_what_is_measured_is_exact_once_it_is_sure():
    family = mupwd.family(build_with(fan_in), base=BASE, inputs=(TOKENS,))
    assert family.init_factors(family.plan(TARGET)) == pytest.approx({"down": 8**-0.5, "readout": 8**-0.5})
    constant = mupwd.family(build_with(lambda name, width: 0.02), base=BASE, inputs=(TOKENS,))
    factors = constant.init_factors(constant.plan(TARGET))
    assert factors == pytest.approx({"hidden": 8**-0.5, "back": 8**-0.5, "down": 1 / 8, "readout": 1 / 8})


def test_sp_leaves_the_models_own_initialisation():
    family = mupwd.family(build_with(fan_in), base=BASE, inputs=(TOKENS,))
    plan = family.plan(TARGET, recipe="sp")
    assert family.init_factors(plan) == {}
    made, own = family.init(TARGET, plan=plan), build_with(fan_in)(TARGET, 0)[1]
    for name in SHAPES:
        np.testing.assert_array_equal(made[name], own[name])


def small(init, growing="readout"):
    """Embedding and readout, one of them by an initialiser of jax's."""

    def build(width, seed):
        keys = jax.random.split(jax.random.key(seed))
        shapes = {"embed": (DATA, width), "readout": (width, OUT)}
        params = {
            name: init(key, shape) if name == growing else jax.random.normal(key, shape)
            for key, (name, shape) in zip(keys, shapes.items(), strict=True)
        }
        return lambda params, tokens: params["embed"][tokens] @ params["readout"], params

    return build


def test_zero_and_constant_values_stay():
    zeros = mupwd.family(small(jax.nn.initializers.zeros), base=BASE, inputs=(TOKENS,))
    np.testing.assert_array_equal(zeros.init(TARGET)["readout"], np.zeros((TARGET, OUT)))
    ones = mupwd.family(small(jax.nn.initializers.ones, "embed"), base=BASE, inputs=(TOKENS,))
    np.testing.assert_array_equal(ones.init(TARGET)["embed"], np.ones((DATA, TARGET)))


def test_a_gain_of_ones_makes_good_a_division_by_the_width_that_the_trace_finds_at_it():
    """MuReadout divides what a norm's gain hands it: the division is the gain's, and the readout's factor is folded."""

    def build_dividing(width, seed):
        params = build_with(fan_in)(width, seed)[1]

        def dividing(params, tokens):
            x = params["embed"][tokens] * params["gain"][None, None] * jnp.float32(BASE / width)
            return x @ params["readout"]

        used = ("embed", "gain", "readout")
        return dividing, {name: params[name] if name != "gain" else jnp.ones(width) for name in used}

    family = mupwd.family(build_dividing, base=BASE, inputs=(TOKENS,))
    plan = family.plan(TARGET)
    made = family.init(TARGET, seed=3)
    np.testing.assert_allclose(made["gain"], plan["gain"].init)
    # One factor 1/m in all, in front of the readout's values: once by the model, undone, and once folded.
    size = jnp.std(made["readout"]) * made["gain"][0] * BASE / TARGET
    assert size / jnp.std(build_dividing(BASE, 3)[1]["readout"]) == pytest.approx(BASE / TARGET, rel=0.15)


@pytest.mark.parametrize(
    ("growing", "exponent"),
    [("readout", r"m\*\*-0\.\d\d, which is no multiple of 1/2"), ("embed", r"m\*\*-0\.\d\d")],
)
def test_an_average_of_fan_in_and_fan_out_on_a_one_sided_kernel_is_ambiguous(growing, exponent):
    family = mupwd.family(small(jax.nn.initializers.glorot_normal(), growing), base=BASE, inputs=(TOKENS,))
    with pytest.raises(
        mupwd.TraceError, match=rf"^{growing}: its initial standard deviation goes like {exponent}"
    ) as error:
        family.init(TARGET)
    assert "averages fan_in and fan_out" in str(error.value)
    assert "plan[path].init" in str(error.value)


def test_an_average_of_fan_in_and_fan_out_where_both_grow_is_fine():
    def build(width, seed):
        def glorot(key, shape):
            return jax.nn.initializers.glorot_uniform()(key, shape)

        keys = jax.random.split(jax.random.key(seed), 3)
        params = {
            "embed": jax.random.normal(keys[0], (DATA, width)),
            "hidden": glorot(keys[1], (width, 4 * width)),
            "readout": jax.random.normal(keys[2], (4 * width, OUT)),
        }

        def fn(params, tokens):
            return jax.nn.relu(params["embed"][tokens] @ params["hidden"]) @ params["readout"]

        return fn, params

    family = mupwd.family(build, base=BASE, inputs=(TOKENS,))
    assert family.init_factors(family.plan(TARGET)) == {"readout": 1 / 8}


def gain_of(draw, seeded):
    """A readout and a gain that starts at random: few values, one draw where `build` takes no seed."""

    def build(width, seed=0):
        params = {"gain": draw(jax.random.key(seed), (width,)), "readout": jnp.zeros((width, OUT))}
        return lambda params, x: jnp.tile(x, (1, width)) * params["gain"][None] @ params["readout"], params

    return build if seeded else lambda width: build(width)


def test_too_few_values_are_drawn_again_where_build_takes_a_seed():
    family = mupwd.family(gain_of(jax.random.normal, True), base=32, inputs=(jnp.ones((4, 1)),))
    assert family.init_factors(family.plan(256)) == {}
    family = mupwd.family(gain_of(jax.random.normal, False), base=32, inputs=(jnp.ones((4, 1)),))
    with pytest.raises(mupwd.TraceError, match=r"^gain: it has too few values \(\(32,\) at base\)") as error:
        family.init(64)
    assert "let build take (width, seed)" in str(error.value)


def test_values_that_are_zero_at_one_width_only_cannot_be_compared():
    def sometimes(key, shape):
        return jax.random.normal(key, shape) * float(shape[0] > BASE)

    family = mupwd.family(small(sometimes), base=BASE, inputs=(TOKENS,))
    with pytest.raises(
        mupwd.TraceError, match=r"^readout: its initial values cannot be compared \(variance 0 at"
    ):
        family.init(TARGET)


def test_a_seed_that_build_does_not_take():
    family = mupwd.family(lambda width: build_with(fan_in)(width, 0), base=64, inputs=(TOKENS,))
    with pytest.raises(
        mupwd.TraceError, match=r"seed=3, but build takes no seed; define build\(width, seed\)"
    ):
        family.init(TARGET, seed=3)


def test_a_plan_for_another_width():
    family = mupwd.family(build_with(fan_in), base=BASE, inputs=(TOKENS,))
    with pytest.raises(PlanError, match=r"embed: \(24, 256\), in the plan \(24, 128\)"):
        family.init(TARGET, plan=family.plan(128))


def test_parameters_that_are_never_used_are_left_alone():
    def build(width, seed):
        fn, params = build_with(fan_in)(width, seed)
        return fn, {**params, "spare": jax.random.normal(jax.random.key(seed), (width, width))}

    family = mupwd.family(build, base=BASE, inputs=(TOKENS,))
    assert family.parameters["spare"].role == "unused"
    spare = build(TARGET, 2)[1]["spare"]
    np.testing.assert_array_equal(family.init(TARGET, seed=2)["spare"], spare)


def test_complex_values():
    def complex_normal(key, shape):
        return jax.random.normal(key, shape, jnp.complex64) * shape[0] ** -0.5

    family = mupwd.family(
        lambda width, seed: (
            lambda params, tokens: (params["embed"].astype(jnp.complex64)[tokens] @ params["readout"]).real,
            small(complex_normal)(width, seed)[1],
        ),
        base=BASE,
        inputs=(TOKENS,),
    )
    assert family.init_factors(family.plan(TARGET)) == pytest.approx({"readout": 8**-0.5})


def test_dtypes_stay():
    def build(width, seed):
        fn, params = small(jax.nn.initializers.normal(0.02))(width, seed)
        return fn, {"embed": params["embed"].astype(jnp.bfloat16), "readout": params["readout"]}

    def both(params, tokens):
        return params["embed"][tokens].astype(jnp.float32) @ params["readout"]

    family = mupwd.family(lambda width, seed: (both, build(width, seed)[1]), base=BASE, inputs=(TOKENS,))
    made = family.init(TARGET)
    assert (made["embed"].dtype, made["readout"].dtype) == (jnp.bfloat16, jnp.float32)


class Tied(nnx.Module):
    def __init__(self, width, rngs):
        self.embed = nnx.Embed(DATA, width, rngs=rngs)

    def __call__(self, tokens):
        return self.embed.attend(self.embed(tokens))


def test_flax_embeddings_tied_to_their_readout():
    family = mupwd.family(lambda width, seed: Tied(width, nnx.Rngs(seed)), base=BASE, inputs=(TOKENS,))
    with pytest.raises(PlanError, match=r"embed/embedding is both an input and an output \(tied\)"):
        family.init(TARGET)
    plan = family.plan(TARGET, form="forward")
    made = family.init(TARGET, plan=plan)
    base = family.init(BASE, plan=family.plan(BASE, form="forward"))
    # flax starts with 1/sqrt(width); the rule keeps an embedding's values.
    ratio = float(made.embed.embedding[...].std() / base.embed.embedding[...].std())
    assert ratio == pytest.approx(1, rel=0.1)


def test_layers_that_the_base_does_not_have_start_as_its_own():
    def build(width, seed, layers=2):
        keys = jax.random.split(jax.random.key(seed), layers + 2)
        params = {
            "embed": jax.random.normal(keys[0], (DATA, width)),
            "layers": [jax.random.normal(key, (width, width)) * 0.02 for key in keys[2:]],
            "readout": jax.random.normal(keys[1], (width, OUT)),
        }

        def fn(params, tokens):
            x = params["embed"][tokens]
            for layer in params["layers"]:
                x = x + jax.nn.relu(x @ layer)
            return x @ params["readout"]

        return fn, params

    family = mupwd.family(build, base=BASE, inputs=(TOKENS,))
    deep = family.plan(build(TARGET, 0, layers=6)[1], depth_ratio=3.0)
    expected = {f"layers/{i}": 8**-0.5 for i in range(6)} | {"readout": 1 / 8}
    assert family.init_factors(deep) == pytest.approx(expected)
