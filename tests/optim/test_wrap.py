"""optax's optimizers with a plan: the base's own at the base, and each parameter by its rule at a target."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mupwd
from mupwd.optim.families import families
from mupwd.tracing.roles import Parameter

FACTORIES = {
    "adam": {}, "adamw": {"weight_decay": 0.3}, "nadam": {}, "nadamw": {"weight_decay": 0.3}, "adamax": {},
    "adamaxw": {"weight_decay": 0.3}, "amsgrad": {}, "adabelief": {}, "adan": {"weight_decay": 0.3}, "rmsprop": {},
    "radam": {}, "yogi": {}, "adagrad": {}, "sgd": {"momentum": 0.9}, "lion": {"weight_decay": 0.3}, "sign_sgd": {},
    "signum": {}, "lamb": {"weight_decay": 0.3}, "adafactor": {"weight_decay_rate": 1e-3, "momentum": 0.9},
}  # fmt: skip
VARIANTS = [
    *FACTORIES.items(),
    ("sgd", {}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("rmsprop", {"centered": True, "momentum": 0.9, "eps_in_sqrt": False}),
    ("adafactor", {"multiply_by_parameter_scale": False, "clipping_threshold": None}),
    ("adafactor", {"learning_rate": None}),
]
IDS = [f"{name}-{index}" for index, (name, _) in enumerate(VARIANTS)]
LEARNING_RATE = 1e-2


def shapes(d):
    return {"embedding": (6, d), "up": (d, 3 * d), "gain": (d,), "readout": (d, 2), "bias": (2,)}


def zeros(d):
    return {name: jnp.zeros(shape) for name, shape in shapes(d).items()}


def tree(d, seed):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes(d).items()}


@pytest.fixture(scope="module")
def family():
    axes = {"embedding": "lookup out", "up": "in out", "gain": "elementwise", "readout": "output: in out"}
    return mupwd.family_from_shapes(zeros(8), zeros(16), axes=axes)


def test_every_known_one_is_tested():
    assert set(FACTORIES) == set(families())


def factory(name):
    return getattr(optax, name)


def trained(transform, params, gradients):
    state = transform.init(params)
    for g in gradients:
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transform.update(g, state, params)
        params = optax.apply_updates(params, updates)
    return params


def of_one_parameter(name, arguments, one, w, gradients):
    """optax's own optimizer on one parameter with that parameter's numbers."""
    kind = families()[name].kind
    given = {"learning_rate": LEARNING_RATE, **arguments}
    unit = {"linear": one.gradient_size, "sign": 1.0}.get(kind, one.eps)
    # What is a share of the parameter's size has the size taken out.
    relative = kind == "relative" and given.get("multiply_by_parameter_scale", True)
    rate = one.lr / (one.init if relative else 1.0)
    given["learning_rate"] = (1.0 if given["learning_rate"] is None else given["learning_rate"]) * rate
    if "weight_decay" in given:
        # Behind the rate: the decay of a step is to be lr * wd.
        given["weight_decay"] *= one.wd
    if "weight_decay_rate" in given:
        given["weight_decay_rate"] *= one.lr * one.wd
    return trained(factory(name)(**given), {"w": w}, [{"w": g / unit} for g in gradients])["w"]


@pytest.mark.parametrize("form", ["folded", "forward"])
@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=IDS)
def test_each_parameter_has_its_own_numbers(family, name, arguments, form):
    plan = family.plan(zeros(32), form=form)
    params, gradients = tree(32, 0), [tree(32, seed) for seed in (1, 2, 3)]
    given = {"learning_rate": LEARNING_RATE, **arguments}
    found = trained(mupwd.wrap(factory(name), plan)(**given), params, gradients)
    for path, w in params.items():
        wanted = of_one_parameter(name, arguments, plan[path], w, [g[path] for g in gradients])
        np.testing.assert_allclose(found[path], wanted, rtol=2e-5, atol=1e-6, err_msg=path)
    assert any(np.max(np.abs(found[path] - w)) > 0 for path, w in params.items())


@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=IDS)
def test_at_the_base_it_is_optax_with_the_recipes_mask(family, name, arguments):
    plan = family.plan(zeros(8))
    params, gradients = tree(8, 0), [tree(8, seed) for seed in (1, 2, 3)]
    given = {"learning_rate": LEARNING_RATE, **arguments}
    mask = {path: plan[path].wd != 0 for path in params}
    masked = {
        key: mask
        for decay, key in (("weight_decay", "mask"), ("weight_decay_rate", "weight_decay_mask"))
        if decay in given
    }
    found = trained(mupwd.wrap(factory(name), plan)(**given), params, gradients)
    wanted = trained(factory(name)(**given, **masked), params, gradients)
    for path in params:
        np.testing.assert_array_equal(found[path], wanted[path], err_msg=path)


def test_adamw_is_mupwds_own(family):
    plan = family.plan(zeros(32))
    params, gradients = tree(32, 0), [tree(32, 1), tree(32, 2)]
    ours = mupwd.adamw(1e-2, plan, weight_decay=0.1)
    wrapped = mupwd.wrap(optax.adamw, plan)(1e-2, weight_decay=0.1)
    assert jax.tree.structure(ours.init(params)) == jax.tree.structure(wrapped.init(params))
    jax.tree.map(
        np.testing.assert_array_equal, trained(ours, params, gradients), trained(wrapped, params, gradients)
    )


def test_sgd_has_the_numbers_of_mup():
    """Forward form, decay linear: vectors lr * m and wd / m, matrices lr / (m_in / m_out) and wd * (m_in / m_out)."""
    kinds = {
        "embedding": ("input", (10, 8), (10, 32), ("lookup", "out")),
        "matrix": ("matrix", (8, 8), (32, 16), ("in", "out")),
        "gain": ("vector", (8,), (32,), ("elementwise",)),
        "readout": ("output", (8, 10), (32, 10), ("in", "out")),
    }
    parameters = {
        path: Parameter(
            path, role, base, "float32", axes, tuple(a != b for a, b in zip(base, target, strict=True))
        )
        for path, (role, base, target, axes) in kinds.items()
    }
    targets = {path: target for path, (_, _, target, _) in kinds.items()}
    plan = mupwd.plan.resolve.make_plan(parameters, targets, recipe="mup_linear", form="forward")
    rates = {"embedding": 4.0, "matrix": 0.5, "gain": 4.0, "readout": 4.0}
    ones = {path: jnp.ones(shape) for path, shape in targets.items()}
    tx = mupwd.wrap(optax.sgd, plan)(1.0)
    steps, _ = tx.update(ones, tx.init(ones), ones)
    for path, rate in rates.items():
        np.testing.assert_array_equal(steps[path], np.full(targets[path], -rate, np.float32))
        # In units of the learning rate that it has, its decay is wd * gradient_size.
        decay = {"matrix": 2.0}.get(path, 0.25)
        assert plan[path].wd * plan[path].gradient_size == decay


def test_it_can_be_injected_and_knows_its_signature(family):
    plan = family.plan(zeros(32))
    make = mupwd.wrap(optax.lion, plan)
    assert list(inspect.signature(make).parameters) == list(inspect.signature(optax.lion).parameters)
    params, g = tree(32, 0), tree(32, 1)
    tx = optax.inject_hyperparams(make)(learning_rate=0.1, weight_decay=0.0)
    state = tx.init(params)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = jax.jit(tx.update)(g, state, params)
    np.testing.assert_allclose(np.abs(updates["up"]), 0.1 / 4, rtol=1e-6)


def test_what_is_not_known_is_refused_with_what_to_do(family):
    plan = family.plan(zeros(32))
    with pytest.raises(ValueError, match=r"wrap\(prodigy\): it estimates one step size from all parameters"):
        mupwd.wrap(optax.contrib.prodigy, plan)
    with pytest.raises(
        ValueError,
        match=r"wrap\(novograd\): its rule is not known here. Known are .*lion.*scale_by_plan_gradient",
    ):
        mupwd.wrap(optax.novograd, plan)
    batch = family.plan(zeros(32), recipe="completed_p", batch_ratio=2.0)
    with pytest.raises(ValueError, match=r"recipe completed_p scales 1 - beta by 2 .* derived for Adam"):
        mupwd.wrap(optax.lion, batch)
    assert mupwd.wrap(optax.nadamw, batch)(1e-3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'lr'"):
        mupwd.wrap(optax.sgd, plan)(0.1, lr=0.1)
