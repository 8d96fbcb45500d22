"""The page on fine-tuning runs, and its three ways of freezing are one."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mupwd

PAGE = Path(__file__).parents[2] / "docs/finetuning.md"


@pytest.fixture(scope="module")
def page():
    """The names that the page's code leaves behind, and what it printed."""
    printed: list[str] = []
    names: dict = {"print": lambda *values: printed.append(" ".join(map(str, values)))}
    # The frameworks' own layers and optax's schedules count on it.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
            exec(block, names)
    return names | {"printed": printed}


def test_the_page_prints_what_it_says(page):
    text = PAGE.read_text(encoding="utf-8")
    assert page["printed"]
    assert all(f"    {line}\n" in text for line in page["printed"])


def test_only_the_adapters_are_trained(page):
    pure = lambda model: dict(mupwd.paths.named_leaves(nnx.state(model, nnx.Param)))  # noqa: E731
    before, after = pure(page["build"](64, 0)), pure(page["model"])
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert changed == {"up/lora/lora_a", "up/lora/lora_b"}
    assert page["losses"][-1] < page["losses"][0]


def test_adapters_step_by_their_own_factors(page):
    updates, params = page["updates"], page["params"]
    assert {name for name in params if np.any(updates[name])} == {"a", "b"}
    for name, lr in (("a", 1 / 4), ("b", 1.0)):
        np.testing.assert_array_equal(updates[name], page["same"][name])
        decay = 0.1 * 2.0 * params[name] if name == "a" else 0.0
        step = -updates[name] / (1e-3 * lr) - decay
        # Adam's first step is the sign, but for eps.
        np.testing.assert_allclose(np.median(np.abs(step)), 1.0, rtol=1e-2)


def test_masked_is_the_same(page):
    params, gradients = page["params"], page["gradients"]
    trained = {name: name in ("a", "b") for name in params}
    frozen = {name: not on for name, on in trained.items()}
    tx = optax.chain(
        optax.masked(mupwd.adamw(1e-3, page["plain_plan"], weight_decay=0.1), trained),
        optax.masked(optax.set_to_zero(), frozen),
    )
    updates, _ = tx.update(gradients, tx.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, updates, page["updates"])


def test_merged_and_separate_adapters_have_one_plan(page):
    merged = page["merged_family"].plan(64)
    for name in page["params"]:
        mine, its = merged[name], page["plain_plan"][name]
        assert (mine.role, mine.lr, mine.wd, mine.eps, mine.init) == (
            its.role,
            its.lr,
            its.wd,
            its.eps,
            its.init,
        ), name


def test_merged_adapters_are_refused_until_stated(page):
    with pytest.raises(mupwd.TraceError, match=r"State what it is, for example overrides="):
        mupwd.family(page["merged"], base=16, inputs=(jnp.zeros((2, 3), int),))


def test_a_trained_model_is_planned_without_a_change_to_it(page):
    model = page["build"](64, 3)
    before = jax.tree.map(jnp.copy, nnx.state(model))
    plan = page["family"].plan(model)
    assert plan == page["plan"]
    jax.tree.map(np.testing.assert_array_equal, nnx.state(model), before)
