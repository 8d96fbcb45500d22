"""What explain says."""

import pytest
from helpers.parameters import llama, llama_plan, parameter

from mupwd import recipes
from mupwd.plan import PlanError, make_plan


def explained(role, base, target, axes, *, recipe="mupwd", form="folded", **facts) -> str:
    w = parameter("w", role, base, target, axes, **facts)
    return make_plan({"w": w}, {"w": target}, recipe=recipe, form=form).explain("w")


def test_a_matrix():
    uses = ("dot_general: in, out at model.py:31",)
    assert explained("matrix", (64, 4, 16), (256, 16, 16), "in out out", uses=uses) == (
        """\
w: matrix, float32, 64→256, 4→16, 16
It is a matrix parameter: it contracts one growing axis into another (a hidden weight).
  axis 0: in, grows (64 at base, 256 at the target)
  axis 1: out, grows (4 at base, 16 at the target)
  axis 2: out, fixed (16)
  use: dot_general: in, out at model.py:31
m_in = 4, m_out = 4: target / base over its growing axes.
"""
        f"Recipe mupwd ({recipes.get('mupwd').source}), folded form:"
        """
  lr × 0.25 = m_in^-1
  wd × 2 = m_in^0.5 (coupled: a step decays by lr * wd * w)
  eps × 0.25 = m_out^-1
  init × 0.5 = m_in^-0.5, on the base's standard deviation"""
    )


def test_a_folded_output_says_what_to_clip_with():
    text = explained("output", (64, 10), (256, 10), "in out", recipe="mup")
    assert "lr × 0.25 = 1 ÷ 4" in text
    assert "wd × 4 = 1 × 4" in text
    assert "forward factor m_in^-1 is folded into the parameter" in text
    assert "gradient is 4 times that of the forward form" in text
    assert "mupwd.clip_by_global_norm" in text


def test_an_output_in_forward_form():
    text = explained("output", (64, 10), (256, 10), "in out", form="forward")
    assert "forward × 0.25 = m_in^-1, for the model to apply" in text
    assert "folded" not in text


def test_no_decay_and_the_models_own_initialisation():
    assert "wd: none; this role has no decay term" in explained("vector", (64,), (256,), "elementwise")
    assert "init: the model's own, untouched" in explained(
        "vector", (64,), (256,), "elementwise", recipe="sp"
    )


def test_tied():
    text = explained("tied", (10, 64), (10, 256), "lookup out", form="forward", lookup_scale_exponent=0.5)
    assert "m_in = 4: target / base over the axis that grows" in text
    assert "The model itself multiplies its use as input by width^0.5" in text
    assert "gradient is 2 times that of the rule" in text
    assert "forward × 0.5 = m_in^-1 × 2 for its own factors" in text


def test_a_residual_branch_and_a_fitted_decay():
    recipe = recipes.fitted({".*mlp.*": 0.9, ".*attention.*": 0.75})
    text = llama_plan(64, 256, recipe=recipe).explain("layers/0/mlp/up/kernel")
    assert "inside a residual branch" in text
    assert "wd × 3.031 = m_in^0.8" in text


def test_an_unknown_path_names_the_nearest():
    with pytest.raises(
        PlanError, match=r"named 'layers/0/mlp/upp/kernel' \(nearest: layers/0/mlp/up/kernel, "
    ):
        llama_plan(64, 256).explain("layers/0/mlp/upp/kernel")


def test_every_parameter_can_be_explained():
    plan = llama_plan(64, 256)
    for path in llama(64, 256)[1]:
        assert plan.explain(path).startswith(f"{path}: {plan[path].role}")
