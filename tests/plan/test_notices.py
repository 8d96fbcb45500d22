"""A target that differs from the base in more than width, under a recipe for width alone, is said to."""

import logging

import pytest
from helpers.parameters import llama, llama_plan

from mupwd import recipes
from mupwd.plan import make_plan


def test_which_ratios_recipes_cover():
    covered = {name: set(recipes.get(name).covers) for name in recipes.names()}
    assert covered == {
        "mupwd": set(),
        "mup": set(),
        "mup_linear": set(),
        "completep": {"depth"},
        "completed_p": {"depth", "batch", "tokens"},
        "sp": set(),
        "sp_embedding": set(),
    }


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("mupwd", ["depth ×4", "batch size ×2", "training tokens ×8", "sequence length ×2"]),
        ("fitted(0.8)", ["depth ×4", "batch size ×2", "training tokens ×8", "sequence length ×2"]),
        ("completep(0.5)", ["batch size ×2", "training tokens ×8", "sequence length ×2"]),
        ("completed_p", ["sequence length ×2"]),
    ],
)
def test_what_a_recipe_does_not_cover_is_logged_and_in_the_table(recipe, said, caplog):
    parameters, _ = llama(64, 64, layers=2)
    _, shapes = llama(64, 256, layers=8)
    with caplog.at_level(logging.WARNING, logger="absl"):
        ratios = {"depth_ratio": 4.0, "batch_ratio": 2.0, "token_ratio": 8.0, "sequence_ratio": 2.0}
        plan = make_plan(parameters, shapes, recipe=recipe, **ratios)
    assert [notice.split(":")[0] for notice in plan.notices] == said
    assert [record.getMessage() for record in caplog.records] == [f"plan: {n}" for n in plan.notices]
    table = str(plan)
    assert all(f"note: {start}: recipe {recipe} has no rule" in table for start in said)
    assert max(map(len, table.splitlines())) <= 120


def test_width_alone_needs_no_notice(caplog):
    plan = llama_plan(64, 256)
    assert plan.notices == ()
    assert "note:" not in str(plan)
    assert not caplog.records
