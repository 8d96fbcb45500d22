"""The plan as a mapping: values, identity, and the parameters it fits."""

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from helpers.parameters import llama, llama_plan

from mupwd.plan import Plan, PlanError


def tree(width: int) -> dict:
    """The parameters of `llama` as nested dicts."""
    nested: dict = {}
    for path, shape in llama(64, width)[1].items():
        *parents, last = path.split("/")
        node = nested
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = jax.ShapeDtypeStruct(shape, jnp.float32)
    return nested


def test_it_is_a_mapping_by_path():
    plan = llama_plan(64, 256)
    assert len(plan) == len(list(plan)) == len(plan.parameters)
    assert plan["norm/scale"].role == "vector"
    assert plan["norm/scale"].dtype == "float32"
    assert "layers/9/mlp/up/kernel" not in plan
    assert repr(plan) == "Plan(recipe='mupwd', form='folded', base=64, width=256, 21 parameters)"
    of_shapes = replace(plan, base=None, width=None)
    assert repr(of_shapes) == "Plan(recipe='mupwd', form='folded', 21 parameters)"


def test_it_cannot_be_changed():
    plan = llama_plan(64, 256)
    with pytest.raises(FrozenInstanceError):
        plan.form = "forward"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(FrozenInstanceError):
        plan["norm/scale"].lr = 2.0  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        plan["norm/scale"] = plan["norm/scale"]  # pyright: ignore[reportIndexIssue]
    plan.forward["norm/scale"] = 2.0
    assert plan.forward == {}


def test_equal_plans_are_one_static_argument():
    traces = []

    @partial(jax.jit, static_argnums=0)
    def scale(plan: Plan, x):
        traces.append(plan)
        return x * plan["readout/kernel"].lr

    plan = llama_plan(64, 256)
    for same in (plan, llama_plan(64, 256), copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        assert same == plan
        assert scale(same, jnp.float32(4.0)) == 1.0
    assert len(traces) == 1
    other = llama_plan(64, 128)
    assert other != plan
    assert scale(other, jnp.float32(4.0)) == 2.0


class TestCheck:
    plan = llama_plan(64, 256)

    def test_the_targets_parameters_pass_and_so_does_a_part(self):
        self.plan.check(tree(256))
        self.plan.check({"layers": tree(256)["layers"]})
        self.plan.check({})

    def test_another_width_names_the_first_differences_with_both_shapes(self):
        with pytest.raises(PlanError) as error:
            self.plan.check(tree(128))
        message = str(error.value)
        assert message.startswith(
            "21 parameter(s) have another shape than the plan was made for:\n  embed/embedding"
        )
        assert "embed/embedding: (100, 128), in the plan (100, 256)" in message
        assert "and 16 more" in message
        assert "family.plan(params)" in message

    def test_an_unknown_path_names_the_nearest(self):
        params = tree(256)
        params["layers"]["0"]["mlp"]["upp"] = params["layers"]["0"]["mlp"].pop("up")
        with pytest.raises(PlanError, match=r"layers/0/mlp/upp/kernel \(nearest: layers/0/mlp/up/kernel\)"):
            self.plan.check(params)

    def test_a_tree_of_another_model(self):
        with pytest.raises(PlanError, match=r"2 parameter\(s\) are not in the plan:\n  0\n  1"):
            self.plan.check([jnp.zeros(3), jnp.zeros(3)])
