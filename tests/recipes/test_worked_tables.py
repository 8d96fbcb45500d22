"""The papers' depth, batch and token rules, entry by entry, as the numbers that a plan has to give."""

from dataclasses import replace

import pytest
from helpers.parameters import llama
from hypothesis import given
from hypothesis import strategies as st

from mupwd import recipes
from mupwd.plan import make_plan
from mupwd.tracing.roles import Parameter

# Width 64 to 256 and 2 to 32 layers: m_N = 4, m_L = 16.
WIDTH, DEPTH = 4.0, 16.0
EMBEDDING, PRE_NORM, HIDDEN, BIAS, FINAL_NORM, READOUT = (
    "embed/embedding",
    "layers/31/mlp/norm/scale",
    "layers/31/mlp/up/kernel",
    "layers/31/mlp/up/bias",
    "norm/scale",
    "readout/kernel",
)

# arXiv 2505.01618, Table 1 (docs/rules.md says how it was checked), columns alpha = 1/2 and alpha = 1. Its rows:
# initial variance (here the standard deviation), learning rate, weight decay ("-": none, as for norms and biases in the
# authors' code), AdamW's eps, factor of the forward pass.
COMPLETEP = {
    0.5: {
        # lr: eta; eps: 1 / m_N
        EMBEDDING: (1.0, 1.0, 1.0, 1 / 4, 1.0),
        # lr: m_L^(alpha - 1) = 16^-0.5; eps: m_L^-alpha / m_N = 1/4 · 1/4
        PRE_NORM: (1.0, 1 / 4, "-", 1 / 16, 1.0),
        # variance 1 / m_N; lr m_L^(alpha - 1) / m_N; decay m_N
        HIDDEN: (1 / 2, 1 / 16, 4.0, 1 / 16, 1.0),
        BIAS: (1.0, 1 / 4, "-", 1 / 16, 1.0),
        FINAL_NORM: (1.0, 1.0, "-", 1 / 4, 1.0),
        # the logits are multiplied by 1 / m_N
        READOUT: (1.0, 1.0, 1.0, 1 / 4, 1 / 4),
    },
    1.0: {
        EMBEDDING: (1.0, 1.0, 1.0, 1 / 4, 1.0),
        PRE_NORM: (1.0, 1.0, "-", 1 / 64, 1.0),
        HIDDEN: (1 / 2, 1 / 4, 4.0, 1 / 64, 1.0),
        BIAS: (1.0, 1.0, "-", 1 / 64, 1.0),
        FINAL_NORM: (1.0, 1.0, "-", 1 / 4, 1.0),
        READOUT: (1.0, 1.0, 1.0, 1 / 4, 1 / 4),
    },
}
# Table 1: both residual connections are x + m_L^-alpha · f(x).
RESIDUAL = {0.5: 1 / 4, 1.0: 1 / 16}

# arXiv 2512.22382, Table 1, at a batch ratio of 4 and a token ratio of 16: sqrt(m_B / m_D) = 1/2. Over CompleteP:
# learning rate and decay × 1/2, eps × 2, 1 - beta × m_B / m_D. The readout is in folded form: variance m_N^-2,
# lr / m_N, and eps and decay × m_N against the forward form.
BATCH, TOKENS = 4.0, 16.0
COMPLETED_P = {
    0.5: {
        EMBEDDING: (1.0, 1 / 2, 1 / 2, 1 / 2, 1.0),
        PRE_NORM: (1.0, 1 / 8, "-", 1 / 8, 1.0),
        HIDDEN: (1 / 2, 1 / 32, 2.0, 1 / 8, 1.0),
        BIAS: (1.0, 1 / 8, "-", 1 / 8, 1.0),
        FINAL_NORM: (1.0, 1 / 2, "-", 1 / 2, 1.0),
        READOUT: (1 / 4, 1 / 8, 2.0, 2.0, 1.0),
    },
    1.0: {
        EMBEDDING: (1.0, 1 / 2, 1 / 2, 1 / 2, 1.0),
        PRE_NORM: (1.0, 1 / 2, "-", 1 / 32, 1.0),
        HIDDEN: (1 / 2, 1 / 8, 2.0, 1 / 32, 1.0),
        BIAS: (1.0, 1 / 2, "-", 1 / 32, 1.0),
        FINAL_NORM: (1.0, 1 / 2, "-", 1 / 2, 1.0),
        READOUT: (1 / 4, 1 / 8, 2.0, 2.0, 1.0),
    },
}


def plan_of(recipe, layers=32, **ratios):
    parameters, _ = llama(64, 256, layers=2)
    _, shapes = llama(64, 256, layers=layers)
    for path in [path for path in shapes if path.endswith("/up/kernel")]:
        bias = path.replace("kernel", "bias")
        shapes[bias] = (4 * 256,)
        if path in parameters:
            parameters[bias] = Parameter(
                bias, "vector", (4 * 64,), "float32", ("elementwise",), (True,), residual=True
            )
    return make_plan(parameters, shapes, recipe=recipe, depth_ratio=layers / 2, **ratios)


def entries(plan, table):
    return {
        path: (plan[path].init, plan[path].lr, plan[path].wd or "-", plan[path].eps, plan[path].forward)
        for path in table
    }


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_completep_table_1(alpha):
    plan = plan_of(recipes.completep(alpha), form="forward")
    assert entries(plan, COMPLETEP[alpha]) == COMPLETEP[alpha]
    assert plan.residual_scale == RESIDUAL[alpha]
    assert plan.beta_ratio == 1


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_completed_p_table_1(alpha):
    plan = plan_of(recipes.completed_p(alpha), batch_ratio=BATCH, token_ratio=TOKENS)
    assert entries(plan, COMPLETED_P[alpha]) == COMPLETED_P[alpha]
    assert plan.residual_scale == RESIDUAL[alpha]
    assert plan.beta_ratio == 1 / 4  # 0.9 becomes 0.975, 0.95 becomes 0.9875


@given(alpha=st.floats(0, 1), layers=st.sampled_from([2, 4, 8]))
def test_one_step_moves_the_sum_of_all_branches_as_far_at_any_depth_and_alpha(alpha, layers):
    plan = plan_of(recipes.completep(alpha), layers=layers)
    # Layers × factor of a branch × learning rate, relative to the base.
    moved = (layers / 2) * plan.residual_scale * plan["layers/0/mlp/up/kernel"].lr * WIDTH
    assert moved == pytest.approx(1.0)


def test_alpha_is_a_part_of_the_name():
    for make in (recipes.completep, recipes.completed_p):
        assert recipes.get(make(0.5).name) == make(0.5)
        assert recipes.get(f"{make().name}(1)") == make() == recipes.get(make().name)
        assert make(0.5).name.endswith("(0.5)")


def test_alpha_1_has_no_depth_in_learning_rates():
    rules = recipes.completep(1.0)
    assert rules.matrix == replace(rules.matrix, lr=recipes.Powers(m_in=-1.0))


@pytest.mark.parametrize("alpha", [-0.5, 1.5, float("nan"), "1", True])
def test_an_alpha_that_is_none(alpha):
    with pytest.raises(ValueError, match=r"completep\(.*\): alpha is a number from 0 to 1"):
        recipes.completep(alpha)


def test_a_name_whose_alpha_is_none():
    with pytest.raises(ValueError, match=r"'completed_p\(half\)': expected a number for alpha"):
        recipes.get("completed_p(half)")
