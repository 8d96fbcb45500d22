"""Plan and state in one checkpoint of Orbax: restored on another mesh as they were, and refused under another plan."""

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from helpers import transformer
from helpers.layouts import LAYOUTS
from helpers.parameters import llama_plan

import mupwd
from mupwd.paths import named_leaves
from mupwd.plan import PlanError

FAMILY = transformer.family()
PLAN = FAMILY.plan(transformer.WIDTH)
# States of every kind: moments like the parameters, factored ones, sums, counters.
TX = {
    "adamw": mupwd.adamw(1e-2, PLAN, weight_decay=0.1),
    "adafactor": mupwd.wrap(optax.adafactor, PLAN)(1e-2, min_dim_size_to_factor=8),
    "lion": optax.MultiSteps(mupwd.wrap(optax.lion, PLAN)(1e-3), every_k_schedule=2),
}


def start():
    params = FAMILY.init(transformer.WIDTH)
    state = {"params": params, **{name: tx.init(params) for name, tx in TX.items()}}
    random = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: np.asarray(random.normal(size=leaf.shape) * 100).astype(leaf.dtype), state
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory with a checkpoint that was written from fully sharded arrays, and what it holds."""
    directory, state = tmp_path_factory.mktemp("run"), start()
    items = {
        "plan": ocp.args.JsonSave(PLAN.to_json()),
        "state": ocp.args.StandardSave(LAYOUTS["fsdp"].place(state)),
    }
    with ocp.CheckpointManager(directory) as manager:
        manager.save(3, args=ocp.args.Composite(**items))
    return directory, state


@pytest.fixture
def manager(saved):
    with ocp.CheckpointManager(saved[0]) as manager:
        yield manager


@pytest.mark.parametrize("name", ["one device", "tensor", "data × tensor, explicit", "pipeline"])
def test_state_lands_on_another_mesh_bit_for_bit(manager, saved, name):
    layout = LAYOUTS[name]
    restored = manager.restore(
        3, args=ocp.args.Composite(state=ocp.args.StandardRestore(layout.shapes(saved[1])))
    )
    found, wanted = named_leaves(restored["state"]), named_leaves(saved[1])
    assert found.keys() == wanted.keys()
    for path, leaf in found.items():
        np.testing.assert_array_equal(leaf, wanted[path])
        assert leaf.sharding == layout.sharding(leaf.shape), path


def restored_plan(manager):
    items = manager.restore(3, args=ocp.args.Composite(plan=ocp.args.JsonRestore()))
    return mupwd.Plan.from_json(items["plan"])


def test_the_plan_comes_back(manager):
    assert restored_plan(manager) == PLAN
    FAMILY.plan(transformer.WIDTH).check_same(restored_plan(manager))


OTHERS = {
    "width": (lambda: FAMILY.plan(48), "width: 48, saved 32"),
    "recipe": (lambda: FAMILY.plan(32, recipe="mup_linear"), "recipe: mup_linear, saved mupwd"),
    "form": (lambda: FAMILY.plan(32, form="forward"), "form: forward, saved folded"),
    "base": (lambda: transformer.family(base=8).plan(32), "base: 8, saved 16"),
    "roles": (
        lambda: transformer.family(overrides={"layers/down": "narrow: stack in out"}).plan(32),
        "role narrow, saved matrix: layers/down",
    ),
    "another model": (lambda: llama_plan(16, 32), "not in the saved plan: embed/embedding and "),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_plan_is_refused(manager, name):
    make, expected = OTHERS[name]
    with pytest.raises(PlanError, match="the saved plan is another one") as error:
        make().check_same(restored_plan(manager))
    assert expected in str(error.value)


def test_a_checkpoint_without_a_plan_is_refused_by_its_shapes(saved):
    with ocp.CheckpointManager(saved[0], item_handlers={"state": ocp.StandardCheckpointHandler()}) as manager:
        shapes = manager.item_metadata(3)["state"]["params"]
    PLAN.check(shapes)
    with pytest.raises(PlanError, match=r"embed: \(24, 32\), in the plan \(24, 48\)"):
        FAMILY.plan(48).check(shapes)
    with pytest.raises(PlanError, match="not in the plan"):
        PLAN.check({"model": shapes})
