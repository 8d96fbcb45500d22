"""`mupwd.adamw` against `optax.adamw` and against AdamW as it is written."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from helpers import battery, reference, toys
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mupwd import recipes
from mupwd.optim import adamw, scale_by_plan_adam
from mupwd.paths import map_named, named_leaves
from mupwd.plan import Plan

ARGUMENTS = {
    "numbers": {"learning_rate": 3e-3, "weight_decay": 0.1},
    "schedules": {
        "learning_rate": optax.warmup_cosine_decay_schedule(0.0, 3e-3, 2, 6),
        "weight_decay": optax.linear_schedule(0.1, 0.2, 6),
    },
    "scheduled rate": {"learning_rate": optax.linear_schedule(1e-3, 1e-4, 6), "weight_decay": 0.1},
    "no decay": {"learning_rate": 3e-3, "weight_decay": 0.0},
    "nesterov": {
        "learning_rate": 3e-3,
        "nesterov": True,
        "b1": 0.8,
        "b2": 0.95,
        "eps": 1e-3,
        "eps_root": 1e-4,
    },
    "bfloat16 momentum": {"learning_rate": 3e-3, "mu_dtype": jnp.bfloat16},
    "array": {"learning_rate": jnp.float32(3e-3), "weight_decay": jnp.float32(0.1)},
}


@functools.cache
def toy() -> toys.Toy:
    return toys.plain()


@functools.cache
def at_base() -> toys.Toy:
    return toys.plain(toys.BASE)


def gradients(params, count: int, scale: float = 1e-2):
    random = np.random.default_rng(0)
    return [
        jax.tree.map(lambda w: jnp.asarray(scale * random.normal(size=w.shape), w.dtype), params)
        for _ in range(count)
    ]


def steps(tx, params, grads, state=None):
    """All that `tx` makes of these gradients, jitted: updates, parameters and state of every step."""
    state = tx.init(params) if state is None else state
    update = jax.jit(tx.update)
    history = []
    for g in grads:
        updates, state = update(g, state, params)
        params = optax.apply_updates(params, updates)
        history.append((updates, params, state))
    return history


def decay_mask(plan: Plan):
    return lambda params: map_named(lambda name, _: plan[name].wd != 0, params)


def assert_identical(actual, wanted):
    assert [x.dtype for x in jax.tree.leaves(actual)] == [x.dtype for x in jax.tree.leaves(wanted)]
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("recipe", recipes.names())
def test_base_equal_to_target_is_optax_bit_for_bit_in_every_recipe(recipe):
    check_identity(recipe, ARGUMENTS["numbers"])


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_base_equal_to_target_is_optax_bit_for_bit_with_all_arguments(kind):
    check_identity("mupwd", ARGUMENTS[kind])


def check_identity(recipe, arguments, dtype=jnp.float32):
    params = jax.tree.map(lambda x: x.astype(dtype), at_base().params)
    plan = at_base().plan(recipe)
    grads = gradients(params, 5)
    ours = steps(adamw(plan=plan, **arguments), params, grads)
    with jax.numpy_dtype_promotion("standard"):
        theirs = steps(optax.adamw(mask=decay_mask(plan), **arguments), params, grads)
    # Without the wrapper that a mask puts around the state of the decay.
    unwrapped = [(u, p, (s[0], s[1].inner_state, s[2])) for u, p, s in theirs]
    assert_identical(ours, unwrapped)


def test_base_equal_to_target_is_optax_bit_for_bit_in_bfloat16():
    # A scheduled decay makes float32 updates of bfloat16 parameters, in optax and here.
    with jax.numpy_dtype_promotion("standard"):
        check_identity("mupwd", ARGUMENTS["schedules"], jnp.bfloat16)


def test_it_is_optax_bit_for_bit_outside_of_jit():
    params, plan = at_base().params, at_base().plan("mup")
    (g,) = gradients(params, 1)
    tx = adamw(1e-3, plan)
    ours = tx.update(g, tx.init(params), params)
    with jax.numpy_dtype_promotion("standard"):
        plain = optax.adamw(1e-3)
        assert_identical(ours, plain.update(g, plain.init(params), params))


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_the_state_tree_is_that_of_optax_without_a_mask(kind):
    params = toy().params
    ours = adamw(plan=toy().plan(), mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p), **ARGUMENTS[kind])
    wanted = jax.eval_shape(optax.adamw(**ARGUMENTS[kind]).init, params)
    actual = jax.eval_shape(ours.init, params)
    assert jax.tree.structure(actual) == jax.tree.structure(wanted)
    assert jax.tree.leaves(actual) == jax.tree.leaves(wanted)


@pytest.mark.parametrize("kind", ["numbers", "schedules"])
@pytest.mark.parametrize("direction", ["optax to mupwd", "mupwd to optax"])
def test_a_checkpoint_of_one_restores_into_the_other_in_mid_run(direction, kind, tmp_path):
    params = at_base().params
    # This recipe decays everything, as optax.adamw without a mask does.
    plan = at_base().plan("mup")
    ours, theirs = adamw(plan=plan, **ARGUMENTS[kind]), optax.adamw(**ARGUMENTS[kind])
    first, second = (theirs, ours) if direction == "optax to mupwd" else (ours, theirs)
    grads = gradients(params, 6)
    with jax.numpy_dtype_promotion("standard"):
        uninterrupted = steps(first, params, grads)
        _, at_half, state = steps(first, params, grads[:3])[-1]
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / "state", state)
            checkpointer.wait_until_finished()
            empty = jax.tree.map(jnp.zeros_like, second.init(params))
            restored = checkpointer.restore(tmp_path / "state", empty)
        resumed = steps(second, at_half, grads[3:], restored)
    assert_identical(resumed, uninterrupted[3:])


@pytest.mark.parametrize(
    ("recipe", "shrinkage"), [("mup_linear", 1.0e-3), ("mup", 2.5e-4), ("mupwd", 5.0e-4)]
)
def test_a_step_without_gradient_shrinks_a_matrix_by_the_golden_factor(recipe, shrinkage):
    plan = toy().plan(recipe)
    moved = moved_without_gradient(adamw(1e-2, plan, weight_decay=0.1))
    w = np.asarray(toy().params["hidden"]["kernel"], np.float64)
    np.testing.assert_allclose(w - moved["hidden/kernel"], shrinkage * w, rtol=0, atol=1e-7)


@pytest.mark.parametrize("form", ["folded", "forward"])
@pytest.mark.parametrize("recipe", [*recipes.names(), recipes.fitted(0.9)], ids=str)
def test_a_step_without_gradient_shrinks_every_parameter_by_its_declared_factor(recipe, form):
    plan = toy().plan(recipe, form)
    check_shrinkage(
        adamw(1e-2, plan, weight_decay=0.1), plan, {n: 1e-2 * 0.1 * p.lr * p.wd for n, p in plan.items()}
    )


def moved_without_gradient(tx):
    params = toy().params
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    return {
        name: np.asarray(w, np.float64)
        for name, w in named_leaves(optax.apply_updates(params, updates)).items()
    }


def check_shrinkage(tx, plan, wanted):
    moved = moved_without_gradient(tx)
    for name, w in named_leaves(toy().params).items():
        if plan[name].wd == 0:
            np.testing.assert_array_equal(moved[name], w)
        else:
            # Relative to the parameter, float32 resolves 6e-8; the factors are 1e-4 and up.
            np.testing.assert_allclose(moved[name] / np.asarray(w, np.float64), 1 - wanted[name], atol=1.5e-7)


def multiplied(learning_rate, plan, weight_decay=1e-4, **arguments) -> optax.GradientTransformation:
    """The common mistake: the finished update of AdamW, decay and all, times the learning rate's factor."""
    factors = optax.stateless(lambda updates, params: map_named(lambda name, u: plan[name].lr * u, updates))
    return optax.chain(
        optax.inject_hyperparams(optax.adamw, static_args="mask")(
            learning_rate=learning_rate, weight_decay=weight_decay, mask=decay_mask(plan), **arguments
        ),
        factors,
    )


def test_a_multiplied_finished_update_does_not_pass_the_same_checks(tmp_path):
    plan = toy().plan()
    wanted = {n: 1e-2 * 0.1 * p.lr * p.wd for n, p in plan.items()}
    check_shrinkage(adamw(1e-2, plan, weight_decay=0.1), plan, wanted)
    arguments = {"learning_rate": 1e-2, "weight_decay": 0.3}
    with jax.numpy_dtype_promotion("standard"):
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            check_shrinkage(multiplied(1e-2, plan, weight_decay=0.1), plan, wanted)
        with pytest.raises(AssertionError, match="hidden/kernel: off by"):
            battery.jit_with_donation(
                toy(), battery.Subject(multiplied, arguments, reference.AdamW), tmp_path
            )


def test_weights_that_do_not_decay_may_be_infinite():
    plan = toy().plan()
    params = jax.tree.map(lambda w: jnp.full_like(w, jnp.inf), toy().params)
    tx = adamw(1e-2, plan, weight_decay=0.1)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    for name, u in named_leaves(updates).items():
        assert np.all(u == 0) if plan[name].wd == 0 else np.all(np.isneginf(u)), name


@pytest.mark.parametrize(
    "arguments",
    [{"eps": 1e-2}, {"eps": 1e-3, "eps_root": 1e-4}, {"b1": 0.7, "b2": 0.9}],
    ids=lambda arguments: ",".join(arguments),
)
@pytest.mark.parametrize("form", ["folded", "forward"])
def test_eps_follows_the_plan(arguments, form):
    plan, data = toy().plan("mupwd", form), toys.batches(5)
    assert any(p.eps != 1 for p in plan.values())
    check_against_reference(plan, data, {"learning_rate": 1e-2, "weight_decay": 0.3, **arguments})


def test_atan2_needs_no_eps_and_keeps_the_state():
    plan, params, grads = toy().plan(), toy().params, gradients(toy().params, 3)
    tx = adamw(1e-2, plan, b2=0.95, weight_decay=0.1, denominator="atan2")
    assert jax.tree.structure(tx.init(params)) == jax.tree.structure(optax.adamw(1e-2).init(params))
    (*_, (_, moved, _)) = steps(tx, params, grads)
    (*_, (_, of_tiny, _)) = steps(tx, params, jax.tree.map(lambda g: g * 2.0**-40, grads))
    assert_identical(moved, of_tiny)
    for name, w in named_leaves(params).items():
        one, wanted, m, v = plan[name], np.asarray(w, np.float64), 0.0, 0.0
        for t, g in enumerate((np.asarray(named_leaves(tree)[name], np.float64) for tree in grads), start=1):
            m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
            step = np.arctan2(m / (1 - 0.9**t), np.sqrt(v / (1 - 0.95**t)))
            wanted = wanted - 1e-2 * one.lr * (step + 0.1 * one.wd * wanted)
        np.testing.assert_allclose(named_leaves(moved)[name], wanted, rtol=1e-5, atol=1e-6, err_msg=name)
    with pytest.raises(
        ValueError, match=r'denominator="atan2" has no eps: leave out eps=1e-06 and eps_root=0.1'
    ):
        adamw(1e-2, plan, eps=1e-6, eps_root=0.1, denominator="atan2")
    with pytest.raises(ValueError, match='denominator must be "eps" or "atan2"; got \'tan\''):
        adamw(1e-2, plan, denominator="tan")


def test_betas_follow_the_batch_and_token_ratios():
    plan = toy().plan("completed_p", batch_ratio=2.0, token_ratio=4.0)
    assert plan.beta_ratio == 0.5
    check_against_reference(plan, toys.batches(5), {"learning_rate": 1e-2, "weight_decay": 0.3})


def check_against_reference(plan, data, arguments):
    actual = battery.run(toy().loop(adamw(plan=plan, **arguments)), data)
    battery.assert_close(actual, battery.expected(toy(), reference.AdamW(plan, **arguments), data), 1e-5)


def test_a_beta_ratio_that_leaves_no_average_is_refused():
    plan = dataclasses.replace(toy().plan(), beta_ratio=12.0)
    with pytest.raises(ValueError, match=r"b1=0.9 with the plan's beta_ratio 12 asks for 1 - b1 = 1.2"):
        adamw(1e-3, plan)


def test_hyperparameters_can_be_traced():
    plan, params = toy().plan(), toy().params
    (g,) = gradients(params, 1)

    def update(rate, decay, peak):
        tx = adamw(rate, plan, weight_decay=decay, decay="independent", peak_learning_rate=peak)
        return tx.update(g, tx.init(params), params)[0]

    rates, decays, peaks = jnp.array([1e-2, 3e-3]), jnp.array([0.1, 0.2]), jnp.array([1e-2, 1e-2])
    many = jax.jit(jax.vmap(update))(rates, decays, peaks)
    for i in range(2):
        one = named_leaves(update(float(rates[i]), float(decays[i]), float(peaks[i])))
        for name, u in named_leaves(many).items():
            np.testing.assert_allclose(u[i], one[name], rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("recipe", ["mupwd", "mup_linear"])
def test_independent_decay_is_coupled_decay_with_the_decay_over_the_peak(recipe):
    plan, params = toy().plan(recipe), toy().params
    grads, peak = gradients(params, 4), 4e-3
    independent = steps(adamw(peak, plan, weight_decay=1e-3, decay="independent"), params, grads)
    assert_identical(independent, steps(adamw(peak, plan, weight_decay=1e-3 / peak), params, grads))


def test_independent_decay_follows_the_schedule_and_not_the_peak():
    plan, w = toy().plan(), np.asarray(toy().params["hidden"]["kernel"], np.float64)
    for peak in (1e-2, 2e-3):
        schedule = optax.constant_schedule(peak / 4)
        tx = adamw(schedule, plan, weight_decay=1e-2, decay="independent", peak_learning_rate=peak)
        moved = moved_without_gradient(tx)["hidden/kernel"]
        # A quarter of the peak, times 1e-2, times the product of the recipe's factors: 1/4 and 2.
        np.testing.assert_allclose(w - moved, 1e-2 / 4 * 0.25 * 2 * w, rtol=0, atol=1e-7)


def test_independent_decay_takes_a_scheduled_decay():
    plan = toy().plan()
    ours = adamw(1e-2, plan, weight_decay=lambda count: 0.02 * (count + 1), decay="independent")
    w, moved = toy().params["hidden"]["kernel"], moved_without_gradient(ours)["hidden/kernel"]
    np.testing.assert_allclose(w - moved, 0.02 * 0.25 * 2 * np.asarray(w), rtol=0, atol=2e-7)


def test_masks_combine_with_the_plan_by_and():
    plan = toy().plan("mup")
    params = toy().params
    as_tree = map_named(lambda name, _: "bias" not in name, params)
    prefix = {"up": {"kernel": True, "bias": False}, "hidden": True, "readout": True}
    for mask in (as_tree, prefix, lambda p: jax.tree.map(lambda x: x.ndim > 1, p)):
        moved = moved_without_gradient(adamw(1e-2, plan, weight_decay=0.1, mask=mask))
        for name, w in named_leaves(params).items():
            assert np.all(moved[name] == w) == ("bias" in name), name
    plan = toy().plan("mupwd")
    moved = moved_without_gradient(adamw(1e-2, plan, weight_decay=0.1, mask=prefix))
    assert {n for n, w in named_leaves(params).items() if np.any(moved[n] != w)} == {"hidden/kernel"}
    moved = moved_without_gradient(adamw(1e-2, plan, weight_decay=0.1, mask=False))
    assert not any(np.any(moved[n] != w) for n, w in named_leaves(params).items())


def test_states_can_be_mapped_by_optax():
    tx, params = adamw(1e-3, toy().plan()), toy().params
    doubled = optax.tree.map_params(tx, lambda x: x + 1, tx.init(params))
    assert all(np.all(x == 1) for x in jax.tree.leaves((doubled[0].mu, doubled[0].nu)))
    assert doubled[0].count == 0


def test_parameters_may_be_sharded_on_an_explicit_mesh():
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Explicit,) * 2)
    params, plan = toy().params, toy().plan()
    grads = gradients(params, 3)
    wanted = steps(adamw(1e-2, plan, weight_decay=0.1), params, grads)

    def place(tree):
        def spec(x):
            return (
                PartitionSpec("data", "model") if x.shape == (toys.TARGET, toys.TARGET) else PartitionSpec()
            )

        return jax.tree.map(lambda x: jax.device_put(x, NamedSharding(mesh, spec(x))), tree)

    with jax.set_mesh(mesh):
        actual = steps(adamw(1e-2, plan, weight_decay=0.1), place(params), [place(g) for g in grads])
    for _, state in [(h[1], h[2]) for h in actual]:
        assert state[0].mu["hidden"]["kernel"].sharding.spec == PartitionSpec("data", "model")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9), actual, wanted)


def test_scale_by_plan_adam_has_no_other_effect_than_adams():
    plan, params = at_base().plan(), at_base().params
    grads = gradients(params, 3)
    ours = steps(scale_by_plan_adam(plan), params, grads)
    with jax.numpy_dtype_promotion("standard"):
        assert_identical(ours, steps(optax.scale_by_adam(), params, grads))
