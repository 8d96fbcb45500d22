"""Numbers of experts and vocabularies that grow or differ: a stated rule, or a refusal that says what to do."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

import mupwd

X = jnp.ones((5, 3))
STATED = {"up|down": "matrix: stack in out"}


def experts(width, *, inner=None):
    """All experts, mixed by weights that sum to 1; their number grows."""
    number, inner = width // 4, inner or 2 * width

    def fn(params, x):
        h = x @ params["stem"]
        gates = jax.nn.softmax(h @ params["router"])
        y = jax.nn.relu(jnp.einsum("bd,edf->ebf", h, params["up"]))
        y = jnp.einsum("ebf,efd->ebd", y, params["down"])
        return (h + jnp.einsum("be,ebd->bd", gates, y)) @ params["out"]

    shapes = {
        "stem": (3, width),
        "router": (width, number),
        "up": (number, width, inner),
        "down": (number, inner, width),
        "out": (width, 2),
    }
    return fn, {name: jnp.zeros(shape) for name, shape in shapes.items()}


def test_a_growing_number_of_experts_is_refused_with_the_override_to_write():
    with pytest.raises(
        mupwd.TraceError,
        match=r"enumerates copies \(experts.*overrides={'(up|down)': 'matrix: stack in out'}",
    ):
        mupwd.family(experts, base=16, inputs=(X,))


@pytest.mark.parametrize(("inner", "up", "down"), [(None, (4, 4), (4, 4)), (8, (4, 1), (1, 4))])
def test_stated_experts_follow_the_rule_of_one_of_them(inner, up, down):
    family = mupwd.family(lambda width: experts(width, inner=inner), base=16, inputs=(X,), overrides=STATED)
    recipe = replace(mupwd.recipes.get("mupwd"), name="mine", logits=None)
    plan = family.plan(64, recipe=recipe)
    assert (plan["up"].m_in, plan["up"].m_out) == up
    assert (plan["down"].m_in, plan["down"].m_out) == down
    assert (plan["up"].lr, plan["up"].eps, plan["up"].stack_axes) == (1 / up[0], 1 / up[1], (0,))
    assert plan["router"].role == "matrix"


def test_a_mixture_over_all_of_them_is_refused_until_its_scale_is_stated():
    family = mupwd.family(experts, base=16, inputs=(X,), overrides=STATED)
    with pytest.raises(mupwd.PlanError, match=r"experts whose number grows.*logits=None"):
        family.plan(64)


def test_a_stated_parameter_is_still_known_to_be_inside_its_branch():
    family = mupwd.family(experts, base=16, inputs=(X,), overrides=STATED)
    assert {path for path, p in family.parameters.items() if p.residual} == {"router", "up", "down"}


def bag(width, vocabulary, classes):
    params = {"embed": jnp.zeros((vocabulary, width)), "out": jnp.zeros((width, classes))}
    return (lambda params, tokens: params["embed"][tokens] @ params["out"]), params


def test_a_growing_vocabulary_is_refused():
    with pytest.raises(mupwd.TraceError):
        mupwd.family(lambda width: bag(width, 10 * width, 7), base=16, inputs=(jnp.zeros(4, int),))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((60, 7), r"embed, axis 0 \(lookup\): 50 at base and 60 at the target\. Another vocabulary"),
        (
            (50, 9),
            r"out, axis 1 \(out\): 7 at base and 9 at the target\. Another vocabulary \(or number of classes",
        ),
    ],
)
def test_a_target_with_another_vocabulary_is_refused(sizes, message):
    family = mupwd.family(lambda width: bag(width, 50, 7), base=16, inputs=(jnp.zeros(4, int),))
    with pytest.raises(mupwd.PlanError, match=message + ".*build the base with"):
        family.plan(bag(64, *sizes)[1])
