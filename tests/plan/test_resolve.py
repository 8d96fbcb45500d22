"""From exponents and shapes to numbers: forms, the model's own factors, ratios, and what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.parameters import llama, llama_plan, parameter, plan_of_one

from mupwd import recipes
from mupwd.plan import PlanError, make_plan
from mupwd.recipes import Powers
from mupwd.tracing.roles import Parameter


def numbers(p):
    return (p.lr, p.wd, p.eps, p.init, p.forward, p.gradient)


def test_all_roles_under_the_default_recipe():
    plan = llama_plan(64, 256)
    assert {(p.role, *numbers(p)) for p in plan.values()} == {
        ("input", 1, 0, 0.25, 1, 1, 1),
        ("matrix", 0.25, 2, 0.25, 0.5, 1, 1),
        ("narrow", 0.25, 2, 1, 0.25, 1, 1),
        ("vector", 1, 0, 0.25, 1, 1, 1),
        ("output", 0.25, 0, 1, 0.25, 1, 4),
    }
    assert list(plan) == list(llama(64, 256)[1])
    assert plan["layers/0/attention/o/kernel"].in_axes == (0, 1)
    assert plan.forward == {}


@pytest.mark.parametrize(
    ("recipe", "folded", "forward"),
    [
        ("mupwd", (0.25, 0, 1, 0.25, 1, 4), (1, 0, 0.25, 1, 0.25, 1)),
        ("mup", (0.25, 4, 4, 0.25, 1, 4), (1, 1, 1, 1, 0.25, 1)),
        ("completep", (0.25, 4, 1, 0.25, 1, 4), (1, 1, 0.25, 1, 0.25, 1)),
        ("sp", (1, 1, 1, None, 1, 1), (1, 1, 1, None, 1, 1)),
    ],
)
def test_folding_is_init_and_lr_by_1_over_m_and_eps_and_wd_by_m(recipe, folded, forward):
    for form, expected in (("folded", folded), ("forward", forward)):
        p = plan_of_one("output", (64, 10), (256, 10), "in out", recipe=recipe, form=form)
        assert numbers(p) == expected, form
    assert llama_plan(64, 256, recipe=recipe, form="forward").forward == (
        {} if recipe == "sp" else {"readout/kernel": 0.25}
    )


def test_an_unused_parameter_is_left_alone():
    p = plan_of_one("unused", (64, 64), (256, 256), "unused unused", recipe="mupwd")
    assert numbers(p) == (1, 1, 1, 1, 1, 1)


def test_fused_axes_count_once_and_stacks_and_lookups_not_at_all():
    fused = plan_of_one("matrix", (64, 192), (256, 768), "in stack+out")
    assert (fused.m_in, fused.m_out) == (4, 4)
    experts = plan_of_one("matrix", (8, 64, 128), (8, 256, 512), "stack in out")
    assert (experts.m_in, experts.m_out, experts.stack_axes) == (4, 4, (0,))
    conv = plan_of_one("matrix", (3, 3, 64, 64), (3, 3, 256, 128), "in in in out")
    assert (conv.m_in, conv.m_out) == (4, 2)
    heads = plan_of_one("vector", (2, 64), (4, 128), "elementwise elementwise")
    assert (heads.m_in, heads.m_out) == (1, 4)
    batch = plan_of_one("vector", (64, 3), (256, 3), "stack out")
    assert (batch.m_in, batch.m_out) == (1, 4)


def test_completep_counts_depth_only_inside_residual_branches():
    parameters, _ = llama(64, 256, layers=2)
    _, shapes = llama(64, 256, layers=8)
    plan = make_plan(parameters, shapes, recipe="completep", depth_ratio=4.0)
    assert plan.residual_scale == 0.25
    assert plan["layers/7/mlp/up/kernel"].eps == plan["layers/0/mlp/up/kernel"].eps == 1 / 4 / 4
    assert plan["layers/7/mlp/up/kernel"].lr == 0.25
    assert plan["layers/0/attention/norm/scale"].eps == 1 / 4 / 4
    assert plan["norm/scale"].eps == plan["embed/embedding"].eps == 1 / 4


def test_completed_p_scales_with_batch_and_tokens():
    plan = llama_plan(64, 256, recipe="completed_p", batch_ratio=8.0, token_ratio=2.0)
    up, embedding = plan["layers/0/mlp/up/kernel"], plan["embed/embedding"]
    assert (up.lr, up.wd, up.eps) == pytest.approx((2 / 4, 2 * 4, 1 / 8), rel=1e-12)
    assert (embedding.lr, embedding.wd, embedding.eps) == pytest.approx((2, 2, 1 / 8), rel=1e-12)
    assert plan["readout/kernel"].lr == pytest.approx(2 / 4, rel=1e-12)
    assert plan["norm/scale"].wd == 0
    assert plan.beta_ratio == pytest.approx(4, rel=1e-12)
    assert llama_plan(64, 256, batch_ratio=8.0, token_ratio=2.0).beta_ratio == 1


def train(steps: int, forward: float, own: float, tied: bool, p, init: float, width: int) -> np.ndarray:
    """Losses of AdamW on `forward * own * w` against a target; one weight, the plan's own numbers."""
    key = jax.random.key(0)
    w = init * jax.random.normal(key, (width,))
    x = jax.random.normal(jax.random.key(1), (8, width))
    y = jnp.sin(x[:, 0])
    # A tied weight is looked up (where the model's own factor is) and used as an output.
    used = (lambda w: (own * w, forward * w)) if tied else (lambda w: (jnp.zeros_like(w), forward * own * w))

    def loss(w):
        lookup, output = used(w)
        return jnp.mean((x @ output + jnp.sum(lookup**2) / width - y) ** 2)

    tx = optax.adamw(0.02 * p.lr, eps=1e-3 * p.eps, weight_decay=0.5 * p.wd)
    state, losses = tx.init(w), []
    for _ in range(steps):
        value, gradient = jax.value_and_grad(loss)(w)
        with jax.numpy_dtype_promotion("standard"):  # optax's own bias correction mixes dtypes
            updates, state = tx.update(gradient, state, w)
        w = optax.apply_updates(w, updates)
        losses.append(value)
    return np.asarray(losses)


@pytest.mark.parametrize(
    ("role", "facts", "form", "tied"),
    [
        ("output", {}, "folded", False),
        ("output", {"scale_exponent": -1.0}, "forward", False),
        ("output", {"scale_exponent": -0.5}, "folded", False),
        ("output", {"scale_exponent": 0.5}, "forward", False),
        ("tied", {"lookup_scale_exponent": 0.5}, "forward", True),
    ],
)
def test_a_model_with_factors_of_its_own_trains_as_the_rule_in_forward_form(role, facts, form, tied):
    base, width = 16, 64
    shapes = {"base": (base, 1), "target": (width, 1), "axes": "in out"}
    if role == "tied":
        shapes = {"base": (1, base), "target": (1, width), "axes": "lookup out"}
    rule = plan_of_one(role, **shapes, recipe="mup", form="forward")
    p = plan_of_one(role, **shapes, recipe="mup", form=form, **facts)
    exponent = sum(facts.values())
    base_std = base ** -(0.5 if tied else 0.0)
    own = float(width**exponent) / base**exponent
    expected = train(20, rule.forward, 1.0, tied, rule, base_std * rule.init, width)
    assert train(20, p.forward, own, tied, p, base_std * p.init, width) == pytest.approx(expected, rel=2e-5)
    assert p.gradient != 1 or p.forward != rule.forward


@pytest.mark.parametrize(
    ("role", "base", "target", "axes", "r"),
    [
        ("input", (10, 64), (10, 256), "lookup out", 2.0),
        ("matrix", (64, 64), (256, 1024), "in out", 2.0),
        ("narrow", (64, 8), (256, 8), "in out", 2.0),
        ("vector", (64,), (256,), "elementwise", 2.0),
        ("wide", (8, 64), (8, 256), "in out", 2.0),
        ("scalar", (), (), "", 1.0),
    ],
)
def test_the_models_own_factor_is_taken_out_of_the_parameter(role, base, target, axes, r):
    rule = plan_of_one(role, base, target, axes, recipe="mup")
    p = plan_of_one(role, base, target, axes, recipe="mup", scale_exponent=0.5)
    assert numbers(p) == (rule.lr / r, rule.wd * r, rule.eps * r, rule.init / r, 1, r)


def test_sp_leaves_the_models_own_factors():
    p = plan_of_one("input", (10, 64), (10, 256), "lookup out", recipe="sp", scale_exponent=0.5)
    assert numbers(p) == (1, 1, 1, None, 1, 1)


def test_a_model_that_already_has_mups_output_factor_needs_no_other():
    for form in ("folded", "forward"):
        p = plan_of_one("output", (64, 10), (256, 10), "in out", form=form, scale_exponent=-1.0)
        assert numbers(p) == (1, 0, 0.25, 1, 1, 1)


def test_tied_in_folded_form_offers_two_ways_out():
    with pytest.raises(PlanError, match="w is both an input and an output") as error:
        plan_of_one("tied", (10, 64), (10, 64), "lookup out", form="folded")
    assert "plan.forward.get('w', 1.0)" in str(error.value)
    assert "mupwd.apply_forward(fn, plan)" in str(error.value)
    assert plan_of_one("tied", (10, 64), (10, 256), "lookup out", form="folded", recipe="sp").forward == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "fold"}, "form='fold': there are 'folded'"),
        (
            {"depth_ratio": 0.0},
            r"depth_ratio .* got 0\.0\. It is target / base and must be positive and finite",
        ),
        ({"batch_ratio": -1.0}, r"batch_ratio .* got -1\.0"),
        ({"token_ratio": float("nan")}, r"token_ratio .* got nan"),
        ({"token_ratio": float("inf")}, r"token_ratio .* got inf"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(PlanError, match=message):
        llama_plan(64, 256, **options)


def test_an_unknown_recipe_is_refused():
    with pytest.raises(ValueError, match="did you mean 'mupwd'"):
        llama_plan(64, 256, recipe="mup-wd")


def test_a_depth_recipe_needs_to_know_the_residual_branches():
    parameters, _ = llama(64, 256, layers=1)
    _, shapes = llama(64, 256, layers=1)
    stacked = Parameter("s", "matrix", (2, 64, 64), "float32", ("stack", "in", "out"), (False, True, True))
    blind = {path: replace(p, residual=False) for path, p in parameters.items()} | {"s": stacked}
    with pytest.raises(PlanError, match="no parameter is known to be inside one"):
        make_plan(blind, {**shapes, "s": (4, 256, 256)}, recipe="completep", depth_ratio=2.0)


class TestFittedByPath:
    def plan(self, exponents):
        return llama_plan(64, 256, recipe=recipes.fitted(exponents))

    def test_each_path_gets_its_own_decay(self):
        plan = self.plan({".*/mlp/.*": 1.0, ".*/attention/.*": 0.5})
        assert plan["layers/0/mlp/up/kernel"].wd == 4
        assert plan["layers/1/attention/k/kernel"].wd == 1
        assert plan["layers/1/mlp/norm/scale"].wd == 0

    def test_a_pattern_that_matches_nothing(self):
        with pytest.raises(PlanError, match=r"'mlp/.\*' of fitted.* matches no matrix or narrow"):
            self.plan({"mlp/.*": 1.0, ".*": 0.5})

    def test_a_pattern_that_matches_only_vectors(self):
        with pytest.raises(PlanError, match=r"'.\*/scale' of fitted.* matches no matrix or narrow"):
            self.plan({".*/scale": 1.0, ".*": 0.5})

    def test_a_parameter_that_two_claim(self):
        with pytest.raises(PlanError, match=r"layers/0/mlp/gate/kernel is matched by 2 patterns") as error:
            self.plan({".*": 1.0, ".*/mlp/.*": 0.5})
        assert "'.*', '.*/mlp/.*'" in str(error.value)

    def test_a_matrix_that_none_claims(self):
        with pytest.raises(PlanError, match=r"no pattern .* matches layers/0/attention/q/kernel"):
            self.plan({".*/mlp/.*": 0.5})

    def test_nothing_to_decay(self):
        bias = parameter("b", "vector", (4,), (8,), "elementwise")
        with pytest.raises(PlanError, match="no parameter is a matrix or narrow"):
            make_plan({"b": bias}, {"b": (8,)}, recipe=recipes.fitted({".*": 0.75}))


def test_a_recipe_of_ones_own():
    mupwd = recipes.get("mupwd")
    mine = replace(mupwd, name="mine", matrix=replace(mupwd.matrix, wd=Powers(m_in=0.25)))
    plan = llama_plan(64, 1024, recipe=mine)
    assert (plan.recipe, plan["layers/0/mlp/up/kernel"].wd) == ("mine", 2)
