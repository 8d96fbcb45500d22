"""Singular values against LAPACK in float64: once, and by the iteration that follows a run."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.parameters import llama_plan, parameter
from hypothesis import given, settings
from hypothesis import strategies as st

import mupwd
from mupwd.diagnostics.krylov import smallest_share
from mupwd.plan import PlanError, make_plan

SHAPE, TOL, K = (160, 240), 1e-3, 8


def matrix_plan(shape, axes="in out", **facts):
    base = tuple(
        max(1, n // 2) if word != "stack" else n for n, word in zip(shape, axes.split(), strict=True)
    )
    made = parameter("w", "matrix", base, shape, axes, **facts)
    return make_plan({"w": made}, {"w": shape})


@functools.cache
def compiled(shape, dtype="float32", every=1, tol=TOL):
    tracker = mupwd.track_spectrum(matrix_plan(shape), k=K, every=every, tol=tol, audit_every=10**6)
    like = {"w": jax.ShapeDtypeStruct(shape, dtype)}
    update = jax.jit(lambda w, state: tracker.update({"w": w}, state, {"w": w})[1])
    return jax.tree.map(jnp.asarray, tracker.init(like)), update


def followed(*matrices, dtype="float32"):
    """The observation of each matrix in turn, as a tracker makes them."""
    state, update = compiled(matrices[0].shape, dtype)
    found = []
    for matrix in matrices:
        state = update(jnp.asarray(matrix, dtype), state)
        found.append(jax.tree.map(np.asarray, state.observations["w"]))
    return found


def exact(matrix):
    return np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)[:K]


def assert_right(found, matrix, tol=TOL):
    wanted = exact(matrix)
    reference = np.maximum(wanted, smallest_share(tol) * wanted[0])
    error = np.abs(np.asarray(found.sigma) - wanted) / np.where(reference > 0, reference, 1)
    assert found.converged
    assert np.all(found.err <= tol)
    # Among equal values the estimate, which needs their distance, says little: far below the tolerance.
    assert np.all(error <= np.maximum(found.err, tol / 10)), (error, found.err)
    fro = np.linalg.norm(np.asarray(matrix, np.float64) / max(wanted[0], 1e-300)) * wanted[0]
    np.testing.assert_allclose(found.fro, fro, rtol=1e-5)
    np.testing.assert_allclose(
        found.rms_operator_norm, found.sigma[0] * np.sqrt(matrix.shape[0] / matrix.shape[1]), rtol=1e-6
    )


def orthogonal(size, random):
    return np.linalg.qr(random.normal(size=(size, size)))[0]


def with_values(values, random, shape=SHAPE):
    short = min(shape)
    left, right = orthogonal(shape[0], random)[:, :short], orthogonal(shape[1], random)[:, :short]
    return (left * np.asarray(values, np.float64)) @ right.T


def kinds():
    random = np.random.default_rng(0)
    rank = np.arange(1, min(SHAPE) + 1)
    gaussian = random.normal(size=SHAPE)
    return {
        "gaussian": gaussian,
        "heavy-tailed values": with_values(rank**-1.0, random),
        "heavy-tailed entries": random.standard_t(2.1, size=SHAPE),
        "spiked": with_values(np.where(rank <= 2, 1000.0 / rank, 1.0 + 1.0 / rank), random),
        "rank-deficient": random.normal(size=(SHAPE[0], 5)) @ random.normal(size=(5, SHAPE[1])),
        "rank one": np.outer(random.normal(size=SHAPE[0]), random.normal(size=SHAPE[1])),
        "zero": np.zeros(SHAPE),
        "one entry": np.eye(1, SHAPE[0] * SHAPE[1], 777).reshape(SHAPE),
        "repeated values": with_values(np.where(rank <= 40, 3.0, 1.0), random),
        "all equal": with_values(np.ones(min(SHAPE)), random),
        "a pair on top": with_values(np.where(rank <= 2, 2.0, 1 / rank), random),
        "tiny": 1e-20 * gaussian,
        "huge": 1e20 * gaussian,
        "some dead columns": gaussian * (np.arange(SHAPE[1]) % 3 == 0),
    }


KINDS = kinds()


@pytest.mark.parametrize("kind", KINDS)
def test_a_cold_start_finds_the_values(kind):
    assert_right(*followed(KINDS[kind]), np.asarray(KINDS[kind], np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_a_matrix_that_moves_is_followed(kind):
    random = np.random.default_rng(1)
    size = np.linalg.norm(KINDS[kind]) / np.sqrt(KINDS[kind].size) or 1.0
    path = [KINDS[kind]]
    for _ in range(4):
        path.append(path[-1] + 0.01 * size * random.normal(size=SHAPE))
    path = [np.asarray(matrix, np.float32) for matrix in path]
    for found, matrix in zip(followed(*path), path, strict=True):
        assert_right(found, matrix)


def test_a_warm_observation_of_the_same_matrix_is_one_round():
    first, second = followed(KINDS["gaussian"], KINDS["gaussian"])
    assert first.passes > 6
    assert second.passes == 2


def test_zero_then_not_zero_then_zero():
    path = [KINDS["zero"], KINDS["zero"], KINDS["gaussian"], KINDS["zero"], KINDS["rank one"]]
    for found, matrix in zip(followed(*path), path, strict=True):
        assert_right(found, np.asarray(matrix, np.float32))
        assert np.isnan(found.stable_rank) == (not matrix.any())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_matrix_that_is_not_finite_leaves_the_state_alone(bad):
    broken = KINDS["gaussian"].copy()
    broken[3, 5] = bad
    before, during, after = followed(KINDS["gaussian"], broken, KINDS["gaussian"])
    assert np.isnan(during.sigma).all()
    assert not during.converged
    assert_right(after, np.asarray(KINDS["gaussian"], np.float32))
    assert after.passes == 2  # the vectors were kept
    np.testing.assert_allclose(after.sigma, before.sigma, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 50), (50, 1), (1, 1), (40, 9), (25, 300)])
def test_narrow_matrices(shape):
    matrix = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    for found in followed(matrix, matrix * np.float32(1.1)):
        assert found.sigma.shape == (min(*shape, K),)
    assert_right(found, matrix * np.float32(1.1))


def test_bfloat16_weights_are_read_as_they_are():
    matrix = np.asarray(jnp.asarray(KINDS["gaussian"], jnp.bfloat16).astype(jnp.float32))
    [found] = followed(matrix, dtype="bfloat16")
    assert_right(found, matrix)


def test_what_can_be_missed_is_bounded():
    [found] = followed(KINDS["gaussian"])
    values = np.linalg.svd(KINDS["gaussian"], compute_uv=False)
    followed_values = K + 8
    wanted = np.sqrt(np.sum(values[followed_values:] ** 2))
    np.testing.assert_allclose(found.missed_bound, wanted, rtol=1e-3)
    assert found.missed_bound >= values[followed_values]


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    exponent=st.floats(-1.5, 0.0),
    size=st.floats(-15, 15),
    rank=st.integers(1, min(SHAPE)),
    step=st.floats(0, 0.1),
)
def test_values_are_right_within_the_estimate_or_the_tolerance(seed, exponent, size, rank, step):
    random = np.random.default_rng(seed)
    order = np.arange(1, min(SHAPE) + 1.0)
    values = np.where(order <= rank, order**exponent, 0.0)
    first = with_values(values, random)
    second = first + step * random.normal(size=SHAPE) / np.sqrt(sum(SHAPE))
    path = [np.asarray(10**size * matrix, np.float32) for matrix in (first, second)]
    for found, matrix in zip(followed(*path), path, strict=True):
        wanted = exact(matrix)
        reference = np.maximum(wanted, smallest_share(TOL) * wanted[0])
        assert np.all(np.isfinite(found.sigma))
        # The estimate is of first order: among many values that are nearly equal, and with an error below the
        # tolerance, it can be a third too small.
        assert np.all(np.abs(found.sigma - wanted) / reference <= np.maximum(found.err, TOL))


# Once.


def test_small_matrices_are_exact():
    for matrix in KINDS.values():
        found = mupwd.spectrum({"w": jnp.asarray(matrix, jnp.float32)}, matrix_plan(SHAPE))["w"]
        assert_right(found, np.asarray(matrix, np.float32))
        assert found.passes == 0
        assert found.missed_bound == 0


def test_large_matrices_are_iterated_on():
    shape = (600, 530)
    matrix = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    found = mupwd.spectrum({"w": jnp.asarray(matrix)}, matrix_plan(shape))["w"]
    assert found.passes > 0
    assert_right(found, matrix)


LAYOUTS = {
    # axes: shape, pieces, how LAPACK gets [copies, fan_in, fan_out]
    "stack in out": ((3, 20, 30), (), lambda w: w),
    "in stack out": ((20, 3, 30), (), lambda w: w.transpose(1, 0, 2)),
    "in out out": ((20, 4, 10), (), lambda w: w.reshape(1, 20, 40)),
    "in in out": ((4, 10, 20), (), lambda w: w.reshape(1, 40, 20)),
    "in stack+out": ((20, 90), (1, 3), lambda w: w.reshape(20, 3, 30).transpose(1, 0, 2)),
    "stack+out in": ((90, 20), (3, 1), lambda w: w.reshape(3, 30, 20).transpose(0, 2, 1)),
    "stack in stack out": ((2, 20, 3, 30), (), lambda w: w.transpose(0, 2, 1, 3).reshape(6, 20, 30)),
    "out in": ((30, 20), (), lambda w: w.T[None]),
    "lookup out": ((50, 20), (), lambda w: w[None]),
}


def test_copies_are_taken_apart_and_axes_put_together():
    random = np.random.default_rng(4)
    parameters, weights = {}, {}
    for axes, (shape, pieces, _) in LAYOUTS.items():
        base = tuple(
            max(1, n // 2) if word != "stack" else n for n, word in zip(shape, axes.split(), strict=True)
        )
        parameters[axes] = parameter(axes, "matrix", base, shape, axes, pieces=pieces)
        weights[axes] = jnp.asarray(random.normal(size=shape), jnp.float32)
    plan = make_plan(parameters, {axes: w.shape for axes, w in weights.items()})
    once = mupwd.spectrum(weights, plan, k=12)
    # With k = 12 the followed block is complete, so that one round settles all of them.
    tracker = mupwd.track_spectrum(plan, k=12)
    _, state = jax.jit(tracker.update)(weights, tracker.init(weights), weights)
    for axes, (_, _, taken_apart) in LAYOUTS.items():
        matrices = taken_apart(np.asarray(weights[axes]))
        wanted = np.linalg.svd(matrices, compute_uv=False)[:, :12]
        for found in (once[axes], state.observations[axes]):
            copied = "stack" in axes
            assert found.fro.shape == ((len(matrices),) if copied else ()), axes
            np.testing.assert_allclose(found.sigma, wanted if copied else wanted[0], rtol=1e-5, err_msg=axes)
            ratio = matrices.shape[1] / matrices.shape[2]
            np.testing.assert_allclose(
                found.rms_operator_norm, found.sigma[..., 0] * np.sqrt(ratio), rtol=1e-5, err_msg=axes
            )


def test_a_whole_model():
    plan = llama_plan(32, 64)
    random = np.random.default_rng(5)
    params = {path: random.normal(size=p.shape).astype(np.float32) for path, p in plan.items()}
    tree = {}
    for path, value in params.items():
        node = tree
        *above, last = path.split("/")
        for key in above:
            node = node.setdefault(key, {})
        node[last] = jnp.asarray(value)
    found = mupwd.spectrum(tree, plan, k=2)
    assert set(found) == {path for path in plan if "scale" not in path}
    for path, seen in found.items():
        matrix = params[path]
        if matrix.ndim == 3:
            matrix = matrix.reshape(64, -1) if "/o/" not in path else matrix.reshape(-1, 64)
        np.testing.assert_allclose(seen.sigma, exact(matrix)[:2], rtol=1e-4, err_msg=path)


# What is refused.


def test_copies_of_unknown_number_are_refused():
    shapes = lambda d: {"qkv": np.ones((d, 3 * d), np.float32)}  # noqa: E731
    family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"qkv": "in stack+out"})
    with pytest.raises(PlanError, match=r"qkv, axis 1 \(stack\+out\).*'stack3\+out'"):
        mupwd.spectrum(shapes(32), family.plan(shapes(32)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be a positive integer.*0"),
        ({"k": True}, "k must be a positive integer.*True"),
        ({"tol": 1e-7}, r"tol must be between 1e-5 .* 1e-07"),
        ({"tol": float("nan")}, "tol must be between"),
    ],
)
def test_numbers_that_cannot_be_meant(arguments, message):
    params = {"w": jnp.ones((4, 4))}
    with pytest.raises(ValueError, match=message):
        mupwd.spectrum(params, matrix_plan((4, 4)), **arguments)
    with pytest.raises(ValueError, match=message):
        mupwd.track_spectrum(matrix_plan((4, 4)), **arguments)


def test_another_model_is_refused():
    with pytest.raises(PlanError, match=r"w: \(4, 5\), in the plan \(4, 4\)"):
        mupwd.spectrum({"w": jnp.ones((4, 5))}, matrix_plan((4, 4)))
    with pytest.raises(PlanError, match=r"not in the plan:\n  v"):
        mupwd.track_spectrum(matrix_plan((4, 4))).init({"v": jnp.ones((4, 4))})
