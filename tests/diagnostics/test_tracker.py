"""The tracker where its users put it: in every framework and wrapper, in loops, on meshes, on accelerators."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import battery, toys
from helpers.parameters import parameter
from helpers.reference import AdamW
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import mupwd
from mupwd.diagnostics import metrics
from mupwd.plan import make_plan

P = PartitionSpec


def square_plan(size, layers=None, base=None):
    base = base or size // 2
    if layers is None:
        return make_plan(
            {"w": parameter("w", "matrix", (base, base), (size, size), "in out")}, {"w": (size, size)}
        )
    made = parameter("w", "matrix", (layers, base, base), (layers, size, size), "stack in out")
    return make_plan({"w": made}, {"w": (layers, size, size)})


def gaussian(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


# In everything that wraps a transform.


def tracked(plan, learning_rate, weight_decay):
    # So many values that the followed blocks are complete: there is less to compile.
    return optax.chain(
        mupwd.adamw(learning_rate, plan, weight_decay=weight_decay),
        mupwd.track_spectrum(plan, k=24, every=2),
    )


SUBJECT = battery.Subject(tracked, {"learning_rate": 3e-3, "weight_decay": 0.1}, AdamW)


@pytest.mark.parametrize("check", battery.CHECKS)
def test_the_run_is_as_without_it(check, tmp_path):
    battery.CHECKS[check](toys.plain(), SUBJECT, tmp_path)


@pytest.mark.parametrize("framework", [toys.flax_nnx, toys.linen, toys.equinox, toys.haiku])
@pytest.mark.parametrize("check", ["jit_with_donation", "checkpoint"])
def test_the_run_of_every_framework_is_as_without_it(framework, check, tmp_path):
    battery.CHECKS[check](framework(), SUBJECT, tmp_path)


# When it observes, and what.


def test_it_observes_the_parameters_before_the_update_every_so_many_steps():
    plan, every = square_plan(24), 3
    tracker = mupwd.track_spectrum(plan, k=16, every=every)
    update = jax.jit(tracker.update)
    params, state = {"w": gaussian(24, 24)}, tracker.init({"w": gaussian(24, 24)})
    assert int(state.observed_at) == -1
    nothing = state.observations["w"]
    assert (nothing.sigma == 0).all()
    assert (nothing.err == 1).all()
    assert not nothing.converged
    for step in range(7):
        before = params["w"]
        updates = {"w": 0.1 * gaussian(24, 24, seed=step)}
        passed, state = update(updates, state, params)
        np.testing.assert_array_equal(passed["w"], updates["w"])
        params = optax.apply_updates(params, passed)
        assert int(state.observed_at) == step - step % every
        if step % every == 0:
            wanted = np.linalg.svd(np.asarray(before), compute_uv=False)[:16]
            np.testing.assert_allclose(state.observations["w"].sigma, wanted, rtol=1e-4)
    assert int(state.step) == 7


def test_it_runs_in_a_scan_and_gives_what_single_steps_give():
    plan = square_plan(24, layers=2)
    tracker = mupwd.track_spectrum(plan, k=16, every=2)
    params = {"w": gaussian(2, 24, 24)}
    steps = 0.05 * gaussian(5, 2, 24, 24, seed=1)

    def step(carry, update):
        params, state = carry
        updates, state = tracker.update({"w": update}, state, params)
        return (optax.apply_updates(params, updates), state), metrics(state)

    (_, scanned), named = jax.jit(lambda c: jax.lax.scan(step, c, steps))((params, tracker.init(params)))
    carry = (params, tracker.init(params))
    for update in steps:
        carry, _ = jax.jit(step)(carry, update)
    np.testing.assert_allclose(scanned.observations["w"].sigma, carry[1].observations["w"].sigma, rtol=1e-5)
    assert named["spectral/w[1]/sigma_1"].shape == (5,)
    assert {"spectral/w[0]/err_16", "spectral/w[1]/missed_bound", "update/w[0]/angle"} <= set(named)


def test_parameters_of_one_shape_are_followed_together_and_each_by_itself():
    names = ["a", "b", "c"]
    made = {name: parameter(name, "matrix", (20, 20), (40, 40), "in out") for name in names}
    plan = make_plan(made, dict.fromkeys(names, (40, 40)))
    tracker = mupwd.track_spectrum(plan, k=4)
    # One that settles at once, one that takes longer, and one that never does.
    params = {
        "a": gaussian(40, 1) @ gaussian(1, 40, seed=1),
        "b": gaussian(40, 40, seed=2),
        "c": jnp.full((40, 40), jnp.nan),
    }
    _, state = jax.jit(tracker.update)(params, tracker.init(params), params)
    assert len(state.weights.blocks) == 1
    for name in "ab":
        wanted = np.linalg.svd(np.asarray(params[name], np.float64), compute_uv=False)[:4]
        np.testing.assert_allclose(state.observations[name].sigma, wanted, atol=1e-3 * wanted[0])
        assert state.observations[name].converged
    assert not state.observations["c"].converged
    assert state.observations["a"].passes <= state.observations["b"].passes


def test_an_audit_finds_a_direction_that_the_block_does_not_hold():
    size = 48
    random = np.random.default_rng(0)
    left, right = (np.linalg.qr(random.normal(size=(size, size)))[0] for _ in range(2))
    values = np.where(np.arange(size) < 20, 5 - 0.1 * np.arange(size), 0.1)
    params = {"w": jnp.asarray((left * values) @ right.T, jnp.float32)}
    # The same with a larger value along the last direction, in which the followed block has no part.
    values[-1] = 9.0
    grown = {"w": jnp.asarray((left * values) @ right.T, jnp.float32)}
    tracker = mupwd.track_spectrum(square_plan(size), k=4, every=1, audit_every=3)
    update = jax.jit(tracker.update)
    state = tracker.init(params)
    for _ in range(2):
        _, state = update(params, state, params)
    # Exactly: what rounding errors leave in the block would find it in a few rounds.
    block = state.weights.blocks["w"]
    missing = jnp.asarray(right[:, -1], jnp.float32)
    block = block - missing[None, :, None] * jnp.einsum("s,nsb->nb", missing, block)[:, None]
    state = state._replace(weights=state.weights._replace(blocks={"w": block}))
    _, state = update(grown, state, grown)
    assert state.observations["w"].sigma[0] < 6
    assert int(state.weights.disagreements["w"]) == 0
    _, state = update(grown, state, grown)  # the audit
    np.testing.assert_allclose(state.observations["w"].sigma[0], 9.0, rtol=1e-3)
    assert int(state.weights.disagreements["w"]) in (0, 1)
    assert metrics(state)["spectral/w/disagreements"] == state.weights.disagreements["w"]


def test_updates_and_their_geometry():
    plan = square_plan(24)
    schedule = optax.linear_schedule(1e-2, 0.0, 10)
    tracker = mupwd.track_spectrum(
        plan, k=16, every=1, updates=True, learning_rate=schedule, weight_decay=0.1
    )
    w, step = np.asarray(gaussian(24, 24)), 0.01 * np.asarray(gaussian(24, 24, seed=1))
    state = tracker.init({"w": w})
    for _ in range(2):
        _, state = jax.jit(tracker.update)({"w": jnp.asarray(step)}, state, {"w": jnp.asarray(w)})
    wanted = np.linalg.svd(step, compute_uv=False)[:16]
    np.testing.assert_allclose(state.updates.observations["w"].sigma, wanted, rtol=1e-4)
    found = state.geometry["w"]
    # In float64: an arc cosine near 1 loses half of its digits.
    before, moved = w.astype(np.float64), w.astype(np.float64) + step
    cosine = np.sum(before * moved) / np.linalg.norm(before) / np.linalg.norm(moved)
    np.testing.assert_allclose(found.weight_rms, np.sqrt(np.mean(w**2)), rtol=1e-5)
    np.testing.assert_allclose(found.update_rms, np.sqrt(np.mean(step**2)), rtol=1e-5)
    np.testing.assert_allclose(found.effective_learning_rate, found.update_rms / found.weight_rms, rtol=1e-5)
    np.testing.assert_allclose(found.angle, np.arccos(cosine), rtol=1e-3)
    # The second step's learning rate; the plan's factors at m = 2 are 1/2 and sqrt(2).
    np.testing.assert_allclose(found.decay_timescale, 1 / (0.9e-2 * 0.1 * 2**-0.5), rtol=1e-5)


@pytest.mark.parametrize("size", [1e-30, 1e-18, 1e-10, 1.0])
def test_the_geometry_of_arrays_of_any_size(size):
    """Squares, and products of squares, of numbers that float32 can hold may not fit into it."""
    tracker = mupwd.track_spectrum(square_plan(24), k=16, every=1)
    w, step = gaussian(24, 24), gaussian(24, 24, seed=1)
    size = jnp.float32(size)
    _, state = jax.jit(tracker.update)({"w": step * size}, tracker.init({"w": w}), {"w": w * size})
    found = state.geometry["w"]
    np.testing.assert_allclose(found.effective_learning_rate, 1.0, rtol=0.1)
    np.testing.assert_allclose(found.angle, np.pi / 4, rtol=0.1)


def test_zero_weights_have_no_direction_to_turn_from():
    """As a readout has that starts from zero: an infinite relative step is true, an angle of NaN says nothing."""
    tracker = mupwd.track_spectrum(square_plan(24), k=16, every=1)
    zeros, step = jnp.zeros((24, 24)), gaussian(24, 24)
    for updates, rate in ((step, np.inf), (zeros, 0.0)):
        _, state = jax.jit(tracker.update)({"w": updates}, tracker.init({"w": zeros}), {"w": zeros})
        found = state.geometry["w"]
        assert (float(found.effective_learning_rate), float(found.angle)) == (rate, 0.0)


def test_tiny_turns_are_not_lost_in_rounding():
    tracker = mupwd.track_spectrum(square_plan(24), k=16, every=1)
    w = gaussian(24, 24)
    state = tracker.init({"w": w})
    _, state = jax.jit(tracker.update)({"w": 1e-6 * gaussian(24, 24, seed=1)}, state, {"w": w})
    np.testing.assert_allclose(state.geometry["w"].angle, 1e-6, rtol=0.1)
    assert state.geometry["w"].decay_timescale is None
    assert "update/w/decay_timescale" not in metrics(state)


# On several devices.

SIZE = 192


def sharded_case(layout, explicit):
    kind = AxisType.Explicit if explicit else AxisType.Auto
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind, kind))
    made = {
        "heads": parameter("heads", "matrix", (96, 8, 12), (SIZE, 16, 12), "in out out"),
        "layers": parameter("layers", "matrix", (2, 96, 192), (2, SIZE, 2 * SIZE), "stack in out"),
    }
    specs = {
        "fsdp": {"heads": P("data"), "layers": P(None, "data")},
        "tensor": {
            "heads": P("data", "model"),
            "layers": P(None, "data", "model"),
        },
    }[layout]
    shapes = {"heads": (SIZE, 16, 12), "layers": (2, SIZE, 2 * SIZE)}
    plan = make_plan(made, shapes)
    params = {path: gaussian(*shape, seed=i) for i, (path, shape) in enumerate(shapes.items())}
    placed = {path: jax.device_put(w, NamedSharding(mesh, specs[path])) for path, w in params.items()}
    return mesh, plan, params, placed


def collectives(text):
    """(operation, elements of its largest result) of every collective in a compiled program."""
    for line in text.splitlines():
        found = re.search(
            r"= (.*?) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(", line
        )
        if found:
            shapes = re.findall(r"\[([\d,]*)\]", found[1])
            yield found[2], max(int(np.prod([int(n) for n in s.split(",") if n])) for s in shapes)


@pytest.mark.parametrize(
    ("layout", "explicit"),
    [("fsdp", False), pytest.param("tensor", False, marks=pytest.mark.slow), ("tensor", True)],
)
def test_sharded_matrices_are_never_gathered(layout, explicit):
    mesh, plan, params, placed = sharded_case(layout, explicit)
    tracker = mupwd.track_spectrum(plan, k=2, every=1)
    with jax.set_mesh(mesh):
        state = tracker.init(placed)
        compiled = jax.jit(tracker.update).lower(placed, state, placed).compile()
        _, state = compiled(placed, jax.device_put(state, NamedSharding(mesh, P())), placed)
    moved = list(collectives(compiled.as_text()))
    assert moved
    # Blocks of 10 columns, and the Gram matrices of the Krylov space of 60, for two copies.
    assert max(size for _, size in moved) <= 2 * max(2 * SIZE * 10, 60 * 60) < SIZE * SIZE / 4
    for path, w in params.items():
        matrices = np.asarray(w).reshape(-1, SIZE, w.size // SIZE // (2 if path == "layers" else 1))
        wanted = np.linalg.svd(matrices, compute_uv=False)[:, :2]
        found = state.observations[path]
        assert np.all(found.converged)
        np.testing.assert_allclose(found.sigma, wanted if path == "layers" else wanted[0], rtol=1e-3)


# On machines that are not here.


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
def test_it_lowers_for_accelerators_with_full_precision(platform):
    plan = square_plan(64, layers=2)
    tracker = mupwd.track_spectrum(plan, k=4)
    params = {"w": jax.ShapeDtypeStruct((2, 64, 64), jnp.bfloat16)}
    state = jax.eval_shape(tracker.init, params)
    exported = jax.export.export(jax.jit(tracker.update), platforms=[platform])(params, state, params)
    assert exported.platforms == (platform,)
    products = [line for line in exported.mlir_module().splitlines() if "stablehlo.dot_general" in line]
    assert products
    assert all("HIGHEST" in line and "DEFAULT" not in line for line in products)


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every must be a positive integer.*0"),
        ({"every": 2.0}, "every must be a positive integer.*2.0"),
        ({"audit_every": -1}, "audit_every must be a positive integer.*-1"),
    ],
)
def test_numbers_that_cannot_be_meant(arguments, message):
    with pytest.raises(ValueError, match=message):
        mupwd.track_spectrum(square_plan(4), **arguments)


def test_the_parameters_are_needed():
    tracker = mupwd.track_spectrum(square_plan(4))
    params = {"w": gaussian(4, 4)}
    with pytest.raises(ValueError, match=r"call tx.update\(updates, state, params\) with all three"):
        tracker.update(params, tracker.init(params))
