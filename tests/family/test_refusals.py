"""What a user can get wrong about a family, and what each mistake says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from helpers.networks import INPUTS, OUTPUTS, EquinoxNetwork, LinenNetwork, X, haiku_network, pair_network

import mupwd
from mupwd.plan import PlanError

TOKENS = jax.ShapeDtypeStruct((2, 4), jnp.int32)


def layered(width, layers=2, vocabulary=20, *, tied=False):
    """An embedding, residual layers that are named by index, a readout."""

    def fn(params, tokens):
        x = params["embed"][tokens]
        for layer in params["layers"]:
            x = x + jax.nn.relu(x @ layer["w"])
        return x @ (params["embed"].T if tied else params["readout"])

    keys = jax.random.split(jax.random.key(0), layers + 2)
    params = {
        "embed": jax.random.normal(keys[0], (vocabulary, width)),
        "layers": [{"w": jax.random.normal(key, (width, width)) * width**-0.5} for key in keys[2:]],
        "readout": jax.random.normal(keys[1], (width, vocabulary)) * width**-0.5,
    }
    if tied:
        del params["readout"]
    return fn, params


@pytest.fixture(scope="module")
def family():
    return mupwd.family(layered, base=32, inputs=(TOKENS,))


def refused(message, build=pair_network, error=mupwd.TraceError, **options):
    with pytest.raises(error, match=message) as caught:
        mupwd.family(build, **{"base": 32, "inputs": (X,), **options})
    return str(caught.value)


class TestWidths:
    @pytest.mark.parametrize("width", [0, -32, 32.0, True, "32", None])
    def test_a_base_that_is_no_width(self, width):
        refused(rf"^base={width!r}: a width is a positive integer$", base=width)

    @pytest.mark.parametrize("width", [0, -32, 64.5])
    def test_a_delta_that_is_no_width(self, width):
        refused(rf"^delta={width!r}: a width is a positive integer$", delta=width)

    @pytest.mark.parametrize("delta", [16, 32])
    def test_a_delta_that_is_not_larger(self, delta):
        refused(f"^delta={delta} must be larger than base=32$", delta=delta)

    def test_numpys_integers_are_widths(self):
        family = mupwd.family(pair_network, base=np.int64(32), inputs=(X,))
        assert family.base == 32
        assert family.plan(np.int32(64)) == family.plan(64)


class TestInputs:
    @pytest.mark.parametrize("inputs", [jnp.ones((4, INPUTS)), {"x": 1}, None, "tokens"])
    def test_not_a_tuple(self, inputs):
        refused(
            r"^inputs is \w+; expected a tuple of example inputs, such as inputs=\(tokens,\)", inputs=inputs
        )

    @pytest.mark.parametrize(
        ("inputs", "shown"),
        [
            ((jnp.ones((4, INPUTS + 1)),), r"inputs=\(float32\[4, 6\],\)"),
            ((X, X), r"inputs=\(float32\[4, 5\], float32\[4, 5\]\)"),
            ((), r"inputs=\(\)"),
        ],
    )
    def test_that_the_model_does_not_take_raise_its_own_error_with_a_note(self, inputs, shown):
        message = rf"This was raised while mupwd called the model of build\(32\) with {shown}"
        with pytest.raises(TypeError, match=message) as caught:
            mupwd.family(pair_network, base=32, inputs=inputs)
        assert "give call=" in " ".join(caught.value.__notes__)

    def test_a_model_for_one_example_is_told_of_vmap(self):
        with pytest.raises(TypeError, match=r"call=lambda model, x: jax\.vmap\(model\)\(x\)"):
            mupwd.family(lambda w: EquinoxNetwork(w, jax.random.key(0)), base=32, inputs=(X,))

    def test_that_a_linen_model_cannot_be_initialised_with(self):
        message = r"mupwd initialised the model of build\(32\) with inputs=\(int32\[2, 4\], int32\[2, 4\]\)"
        with pytest.raises(TypeError, match=message):
            mupwd.family(LinenNetwork, base=32, inputs=(TOKENS, TOKENS))


class TestBuild:
    def test_not_a_function(self):
        refused(r"^build is tuple; expected a function build\(width\)", build=pair_network(32))

    def test_raises(self):
        def build(width):
            raise ZeroDivisionError("heads")

        refused(r"^heads\nThis was raised while mupwd ran build\(32\)", build, ZeroDivisionError)

    def test_raises_at_the_target_only(self, family):
        def build(width):
            if width > 64:
                raise ValueError(f"{width} is no multiple of 64 heads")
            return layered(width)

        made = mupwd.family(build, base=32, inputs=(TOKENS,))
        with pytest.raises(ValueError, match=r"100 is no multiple of 64 heads\nThis was .* build\(100\)"):
            made.plan(100)

    def test_raises_at_the_second_width_only(self):
        def build(width):
            if width % 3:
                raise ValueError("3 heads")
            return pair_network(width)

        message = r"(?s)^3 heads\nThis .*\n40 is the second width, which base=3 is compared with; delta= takes another"
        refused(message, build, ValueError, base=3, delta=40)
        assert mupwd.family(build, base=3, delta=9, inputs=(X,)).delta == 9

    @pytest.mark.parametrize(
        ("made", "found"),
        [
            (None, "NoneType"),
            (32, "int"),
            ({"w": jnp.ones((3, 3))}, "dict"),
            (pair_network(32)[::-1], r"tuple of \(dict, function\)"),
            ([jnp.ones(3)], r"list of \(\w+\)"),
        ],
    )
    def test_returns_nonsense(self, made, found):
        message = refused(
            rf"^build\(\) returned {found}; expected an nnx, linen or equinox model", lambda w: made
        )
        assert "a pair (fn, params)" in message
        assert "mupwd.family_from_shapes" in message

    def test_returns_a_function_without_parameters(self):
        refused(r"has no parameters .* as a pair \(fn, params\)", lambda width: lambda x: x * width)

    def test_returns_a_linen_module_with_its_parameters(self):
        refused("return the module alone, or the pair", lambda width: (LinenNetwork(width), {}))

    def test_wants_more_than_a_width_and_a_seed(self):
        refused(
            r"^build needs key besides the width; it is called as build\(width\), or build\(width, seed\)",
            lambda width, key: pair_network(width),
        )

        class Model(nnx.Module):
            def __init__(self, width, rngs):
                self.up = nnx.Linear(INPUTS, width, rngs=rngs)

        assert "lambda width: build(width, rngs=…)" in refused("^build needs rngs besides the width", Model)

    def test_ignores_the_width(self):
        refused(
            r"^no parameter changes its shape between base=32 and delta=64: does build use its width argument\?",
            lambda width: pair_network(32),
        )

    def test_a_call_where_there_is_none_to_replace(self):
        refused(r"^call= is for models; a pair \(fn, params\) is called as", call=lambda model, x: x)
        refused("^call= is for models; with haiku", haiku_network, call=lambda model, x: x)


class TestTheTwoWidths:
    def test_ranks_differ(self):
        def build(width):
            shape = (INPUTS, width) if width == 32 else (INPUTS, 2, width // 2)
            return lambda params, x: x @ params["w"].reshape(INPUTS, width), {"w": jnp.ones(shape)}

        refused(r"^w has 2 axes at the first width, \(5, 32\), and 3 at the second, \(5, 2, 32\)", build)

    def test_parameters_that_are_missing_at_one(self):
        def build(width):
            names = ("a", "b") if width == 32 else ("a",)
            return lambda params, x: x @ params["a"], {name: jnp.ones((INPUTS, width)) for name in names}

        message = refused(r"^1 parameter\(s\) do not exist at the second width: b; base and delta", build)
        assert "same depth and options" in message
        refused(
            r"^2 parameter\(s\) do not exist at the first width: layers/2/w, layers/3/w;",
            lambda width: layered(width, width // 16),
            inputs=(TOKENS,),
        )


class TestTargets:
    @pytest.mark.parametrize("target", [64.0, "64", None, True, {}, ()])
    def test_that_are_nothing_to_plan_for(self, family, target):
        with pytest.raises(
            PlanError, match=r"expected a width \(an integer\), a model, or a tree of parameters"
        ):
            family.plan(target)

    @pytest.mark.parametrize("target", [0, -64])
    def test_that_are_no_width(self, family, target):
        with pytest.raises(PlanError, match=rf"plan\({target}\): a width is a positive integer"):
            family.plan(target)

    def test_another_vocabulary(self, family):
        with pytest.raises(PlanError, match=r"embed, axis 0 \(lookup\): 20 at base and 30 at the target"):
            family.plan(layered(64, vocabulary=30)[1])

    def test_another_rank(self, family):
        params = layered(64)[1]
        params["layers"][1]["w"] = params["layers"][1]["w"].reshape(64, 4, 16)
        with pytest.raises(PlanError, match=r"layers/1/w has 2 axes at base \(32, 32\) and 3 at the target"):
            family.plan(params)

    def test_parameters_on_one_side_only(self, family):
        params = layered(64)[1]
        with pytest.raises(PlanError, match=r"not in the family: bias; make base and target from one build"):
            family.plan({**params, "bias": jnp.ones(20)})
        del params["readout"]
        with pytest.raises(PlanError, match="of the family are missing at the target: readout"):
            family.plan(params)

    def test_another_depth(self, family):
        params = layered(64, layers=6)[1]
        with pytest.raises(PlanError, match=r"layers/\*: 2 layers .* and 6 at the target; .* depth_ratio=3"):
            family.plan(params)
        plan = family.plan(params, depth_ratio=3.0)
        assert plan["layers/5/w"].lr == plan["layers/0/w"].lr == 0.5

    def test_a_recipe_that_does_not_exist(self, family):
        with pytest.raises(ValueError, match="no recipe is named 'mup_linaer'; did you mean 'mup_linear'"):
            family.plan(64, recipe="mup_linaer")

    def test_a_form_that_does_not_exist(self, family):
        with pytest.raises(PlanError, match="form='fold': there are 'folded'"):
            family.plan(64, form="fold")


class TestTied:
    @pytest.fixture
    def tied(self):
        return mupwd.family(lambda width: layered(width, tied=True), base=32, inputs=(TOKENS,))

    def test_the_folded_form_offers_two_ways_out(self, tied):
        with pytest.raises(PlanError, match=r"^embed is both an input and an output \(tied\)") as caught:
            tied.plan(128)
        for words in ("form='forward'", "plan.forward.get('embed', 1.0)", "mupwd.apply_forward(fn, plan)"):
            assert words in str(caught.value)

    def test_each_way_out_works(self, tied):
        plan = tied.plan(128, form="forward")
        fn, params = layered(128, tied=True)
        tokens = jnp.arange(8).reshape(2, 4)

        def by_hand(params, tokens):
            return fn(params, tokens) * plan.forward.get("embed", 1.0)

        plain, hand = fn(params, tokens), by_hand(params, tokens)
        np.testing.assert_allclose(hand, plain / 4, rtol=1e-6)
        np.testing.assert_allclose(mupwd.apply_forward(fn, plan)(params, tokens), hand, rtol=1e-6)
        grads = jax.grad(lambda p: (by_hand(p, tokens) ** 2).sum())(params)
        applied = jax.grad(lambda p: (mupwd.apply_forward(fn, plan)(p, tokens) ** 2).sum())(params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), grads, applied)
        assert tied.plan(32, form="forward").forward == {}


class TestOverrides:
    def test_that_match_nothing_name_the_nearest_path(self):
        message = refused(
            r"^override 'hiden/w' matches no parameter \(a pattern must match the whole path\)",
            overrides={"hiden/w": "matrix: in out"},
        )
        assert "'hidden/w'" in message
        refused("matches no parameter", overrides={"hidden": "matrix: in out"})

    def test_that_claim_one_parameter_twice(self):
        refused(
            r"^hidden/w: two overrides claim it, 'hidden/w' and '\.\*en/w'; narrow one of them",
            overrides={"hidden/w": "in out", ".*en/w": "in out"},
        )

    def test_with_a_role_that_does_not_exist(self):
        refused(
            "^hidden/w: 'matirx' is not a role .*; did you mean 'matrix'",
            overrides={"hidden/w": "matirx: in out"},
        )

    def test_with_a_word_that_does_not_exist(self):
        refused(
            r"^hidden/w: 'inn' is not a word for an axis \(in, out, stack, lookup, elementwise, unused\); did you "
            "mean 'in'",
            overrides={"hidden/w": "inn out"},
        )

    def test_with_another_number_of_words(self):
        refused(
            r"^hidden/w: the override has 3 words for axes \(in out out\), but the parameter has 2 axes of sizes "
            r"\(32, 32\)",
            overrides={"hidden/w": "in out out"},
        )

    @pytest.mark.parametrize("statement", [None, 3, ("in", "out")])
    def test_that_are_no_statement(self, statement):
        refused(
            "^hidden/w: an override is a string such as 'matrix: in out'", overrides={"hidden/w": statement}
        )

    def test_that_are_no_pattern(self):
        refused(r"^override '\*' is not a regular expression", overrides={"*": "in out"})

    def test_that_leave_the_role_open(self):
        message = refused("^readout/w: only its in axis grows", overrides={"readout/w": "in out"})
        assert "'narrow: in out'" in message

    def test_that_are_no_mapping(self):
        refused("^overrides is str; expected a mapping", overrides="hidden/w: in out")

    def test_decide(self):
        family = mupwd.family(pair_network, base=32, inputs=(X,), overrides={"readout/w": "narrow: in out"})
        assert family.parameters["readout/w"].role == "narrow"
        assert family.plan(64)["readout/w"].wd == pytest.approx(2**0.5)


def test_a_module_that_holds_two_parameters_of_one_name():
    def build(width):
        params = {"params": {"w": jnp.ones((INPUTS, width))}, "w": jnp.ones((width, OUTPUTS))}
        return lambda params, x: x @ params["params"]["w"] @ params["w"], params

    refused("two parameters are both named 'w'; rename one of their keys", build)


def test_a_linen_model_that_needs_arguments_takes_call():
    class Flagged(nn.Module):
        width: int

        @nn.compact
        def __call__(self, x, *, train):
            return nn.Dense(OUTPUTS)(nn.Dropout(0.5, deterministic=not train)(nn.Dense(self.width)(x)))

    with pytest.raises(
        TypeError, match=r"argument: 'train'\nThis was raised while mupwd initialised the model"
    ):
        mupwd.family(Flagged, base=32, inputs=(X,))


@pytest.mark.parametrize("plan", ["mupwd", {"readout": 0.25}, 64], ids=repr)
def test_initial_values_for_what_is_no_plan(family, plan):
    """As every optimizer says it."""
    with pytest.raises(TypeError, match=r"plan must be a mupwd\.Plan"):
        family.init(64, plan=plan)
    with pytest.raises(TypeError, match=r"plan must be a mupwd\.Plan"):
        family.init_factors(plan)
