"""In what two plans differ is said, and what has no part in training is no difference."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.parameters import llama, llama_plan

from mupwd import recipes
from mupwd.plan import Plan, PlanError, make_plan
from mupwd.plan.differences import differences
from mupwd.recipes import Powers
from mupwd.tracing.roles import Logits

PLAN = llama_plan(64, 256)


def test_a_plan_that_came_back_from_json_is_the_same():
    back = Plan.from_json(json.loads(json.dumps(PLAN.to_json(), allow_nan=False)))
    assert back == PLAN
    assert differences(PLAN, back) == ()
    PLAN.check_same(back)


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        (llama_plan(64, 256, recipe="mup"), "recipe: mupwd, saved mup"),
        (llama_plan(64, 256, form="forward"), "form: folded, saved forward"),
        (llama_plan(64, 512), "width: 256, saved 512"),
        (llama_plan(32, 256), "base: 64, saved 32"),
        (llama_plan(64, 256, recipe="completed_p", batch_ratio=2.0), "batch_ratio: 1.0, saved 2.0"),
        (llama_plan(64, 256, layers=3), "only in the saved plan: layers/2/attention/norm/scale and 8 more"),
        (llama_plan(64, 256, layers=1), "not in the saved plan: layers/1/attention/norm/scale and 8 more"),
    ],
    ids=["recipe", "form", "width", "base", "ratios", "deeper", "shallower"],
)
def test_what_differs_is_named(saved, expected):
    found = differences(PLAN, saved)
    assert expected in found
    with pytest.raises(
        PlanError, match=rf"the saved plan is another one; {len(found)} difference\(s\)"
    ) as error:
        PLAN.check_same(saved)
    assert f"\n  {found[0]}\n" in str(error.value)


def changed(path, **facts):
    parameters, shapes = llama(64, 256)
    parameters[path] = replace(parameters[path], **facts)
    return make_plan(parameters, shapes, base=64, width=256)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"role": "narrow"}, "role matrix, saved narrow: layers/1/mlp/up/kernel"),
        ({"dtype": "bfloat16"}, "dtype float32, saved bfloat16: layers/1/mlp/up/kernel"),
        ({"axes": ("out", "in")}, "axes ('in', 'out'), saved ('out', 'in'): layers/1/mlp/up/kernel"),
        ({"residual": False}, "residual True, saved False: layers/1/mlp/up/kernel"),
    ],
)
def test_one_parameter(facts, expected):
    assert differences(PLAN, changed("layers/1/mlp/up/kernel", **facts)) == (expected,)


def test_a_recipe_that_was_changed_under_its_name():
    own = recipes.get("mupwd")
    own = replace(own, matrix=replace(own.matrix, wd=Powers(m_in=0.6)))
    found = differences(PLAN, llama_plan(64, 256, recipe=own))
    assert found[0] == "recipe, wd of matrix: m_in^0.5, saved m_in^0.6"
    # And in consequence the decay of every matrix, in one line.
    assert found[1:] == (f"wd 2.0, saved {4**0.6}: layers/0/attention/q/kernel and 9 more",)
    fitted = recipes.fitted({".*mlp.*": 0.9, ".*attention.*": 0.75})
    assert any("decay_exponents" in line for line in differences(PLAN, llama_plan(64, 256, recipe=fitted)))


def test_what_has_no_part_in_training_is_no_difference():
    parameters, shapes = llama(64, 256)
    moved = {
        path: replace(p, uses=("dot_general: in, out at elsewhere.py:1",)) for path, p in parameters.items()
    }
    turned = dict(reversed(shapes.items()))
    other = make_plan(moved, turned)
    assert list(other) != list(PLAN)
    assert other.width is None
    assert differences(PLAN, other) == ()


def test_logits_count_by_what_they_are_and_not_by_their_line():
    one, same, another = (
        replace(PLAN, logits=(Logits(source, "4-9", "hd,hd", 16, exponent),))
        for source, exponent in (("a.py:1", -0.5), ("b.py:2", -0.5), ("a.py:1", -1.0))
    )
    assert differences(one, same) == ()
    assert len(differences(one, another)) == 1


def test_a_long_list_is_cut():
    parameters, shapes = llama(64, 256, layers=12)
    other = {
        path: replace(p, scale_exponent=float(np.log2(i + 2)))
        for i, (path, p) in enumerate(parameters.items())
    }
    made = [make_plan(which, shapes) for which in (parameters, other)]
    with pytest.raises(PlanError, match=f"{len(shapes)} difference") as error:
        made[0].check_same(made[1])
    assert f"and {len(shapes) - 10} more" in str(error.value)
    assert len(str(error.value).splitlines()) == 13


@pytest.mark.parametrize("content", [None, [], {}, {"format": "another"}])
def test_json_of_something_else(content):
    with pytest.raises(PlanError, match=r"the JSON is not a plan that Plan\.save wrote"):
        Plan.from_json(content)


def test_json_that_was_edited():
    content = PLAN.to_json()
    content["parameters"][0]["shape"] = [1, 2]
    with pytest.raises(PlanError, match="the JSON was changed or damaged"):
        Plan.from_json(content)
