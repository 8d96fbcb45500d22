"""optax's optimizers with a plan: the base's own at the base, and each parameter by its rule at a target."""

import functools
import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mupwd
from mupwd.optim.families import families
from mupwd.optim.refused import REFUSED
from mupwd.tracing.roles import Parameter

DECAY = {"weight_decay": 0.3}
FACTORIES = {
    "adam": {}, "adamw": DECAY, "nadam": {}, "nadamw": DECAY, "adamax": {}, "adamaxw": DECAY, "amsgrad": {},
    "adabelief": {}, "adan": DECAY, "ademamix": DECAY, "simplified_ademamix": DECAY, "adopt": {}, "rmsprop": {},
    "optimistic_adam_v2": {}, "sm3": {}, "schedule_free_adamw": DECAY,
    "radam": {}, "yogi": {}, "adagrad": {}, "adadelta": DECAY, "acprop": DECAY, "sgd": {"momentum": 0.9},
    "optimistic_gradient_descent": {}, "schedule_free_sgd": DECAY | {"warmup_steps": 2},
    "lion": DECAY, "sign_sgd": {}, "signum": {}, "rprop": {},
    "lamb": DECAY, "lars": DECAY, "fromage": {}, "adafactor": {"weight_decay_rate": 1e-3, "momentum": 0.9},
    "novograd": DECAY, "madgrad": DECAY,
}  # fmt: skip
VARIANTS = [
    *FACTORIES.items(),
    ("sgd", {}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("rmsprop", {"centered": True, "momentum": 0.9, "eps_in_sqrt": False}),
    ("adafactor", {"multiply_by_parameter_scale": False, "clipping_threshold": None}),
    ("adafactor", {"learning_rate": None}),
    ("fromage", {"learning_rate": optax.linear_schedule(1e-2, 1e-3, 3)}),
]
IDS = [f"{name}-{index}" for index, (name, _) in enumerate(VARIANTS)]
LEARNING_RATE = 1e-2
# The optimizers that are given gradients in the base's units, none of it, and those whose step is a share of a size.
LINEAR = {
    "radam", "yogi", "adagrad", "adadelta", "acprop", "sgd", "optimistic_gradient_descent", "schedule_free_sgd",
    "lars", "fromage", "madgrad",
}  # fmt: skip
SIGN = {"lion", "sign_sgd", "signum", "rprop"}
RELATIVE = {"lamb", "lars", "fromage", "adafactor"}


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
    assert set(FACTORIES) | {"muon"} == set(families())


def factory(name):
    return getattr(optax.contrib, name) if hasattr(optax.contrib, name) else getattr(optax, name)


def trained(transform, params, gradients):
    state = transform.init(params)
    for g in gradients:
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transform.update(g, state, params)
        params = optax.apply_updates(params, updates)
    return params


def of_one_parameter(name, arguments, one, w, gradients):
    """optax's own optimizer on one parameter with that parameter's numbers."""
    given = {"learning_rate": LEARNING_RATE, **arguments}
    norm = (np.prod(one.shape) / np.prod(one.base_shape)) ** 0.5 if name == "novograd" else 1.0
    unit = (one.gradient_size if name in LINEAR else 1.0 if name in SIGN else one.eps) * norm
    # What is a share of the parameter's size has the size taken out.
    relative = name in RELATIVE and given.get("multiply_by_parameter_scale", True)
    rate = one.lr / (one.init if relative else 1.0) * norm
    if name == "madgrad":
        rate, given["eps"] = rate**1.5, 1e-6 * rate**0.5
    if name == "rprop":
        given |= {"min_step_size": 1e-6 * rate, "max_step_size": 50.0 * rate}
    base = 1.0 if given["learning_rate"] is None else given["learning_rate"]
    given["learning_rate"] = (lambda count: base(count) * rate) if callable(base) else base * rate
    if "weight_decay" in given:
        # Behind the rate: the decay of a step is to be lr * wd.
        trusted = name in ("lamb", "lars")
        given["weight_decay"] *= (one.lr * one.wd) ** 0.5 / one.init if trusted else one.wd / norm
    if "weight_decay_rate" in given:
        given["weight_decay_rate"] *= one.lr * one.wd
    return trained(factory(name)(**given), {"w": w}, [{"w": g / unit} for g in gradients])["w"]


FORMS = [(name, arguments, "folded") for name, arguments in VARIANTS] + [
    # One of each kind: the form is in the plan's numbers only.
    (name, FACTORIES[name], "forward")
    for name in ("adamw", "sgd", "lion", "lamb", "novograd", "madgrad")
]


@pytest.mark.parametrize(("name", "arguments", "form"), FORMS, ids=[f"{n}-{f}" for n, _, f in FORMS])
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
    names = {"mask", "weight_decay_mask"} & set(inspect.signature(factory(name)).parameters)
    if not names:
        given.pop("weight_decay", None)
    masked = {key: mask for key in names if {"weight_decay", "weight_decay_rate"} & set(given)}
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


@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_schedule_frees_parameters_for_evaluation(family, name):
    """optax's own function reads the state."""
    params = tree(8, 0)
    given = {"learning_rate": LEARNING_RATE, "warmup_steps": 2}
    found = []
    for tx in (mupwd.wrap(factory(name), family.plan(params))(**given), factory(name)(**given)):
        state = tx.init(params)
        with jax.numpy_dtype_promotion("standard"):
            _, state = tx.update(tree(8, 1), state, params)
            found.append(optax.contrib.schedule_free_eval_params(state, params))
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_a_partial_of_a_factory(family):
    plan = family.plan(zeros(32))
    params, gradients = tree(32, 0), [tree(32, 1), tree(32, 2)]
    make = mupwd.wrap(functools.partial(optax.sgd, 0.3, momentum=0.9), plan)
    for partial, whole in (
        (make(), {"momentum": 0.9}),
        (make(momentum=0.5, nesterov=True), {"momentum": 0.5, "nesterov": True}),
    ):
        wanted = trained(mupwd.wrap(optax.sgd, plan)(0.3, **whole), params, gradients)
        jax.tree.map(np.testing.assert_array_equal, trained(partial, params, gradients), wanted)


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


def mine(learning_rate):
    return optax.sgd(learning_rate)


# What in optax returns a transform and is no optimizer: links of chains, wrappers of any transform, other kinds.
NO_OPTIMIZERS = {
    "adaptive_grad_clip", "add_decayed_weights", "add_noise", "apply_every", "apply_if_finite", "centralize", "chain",
    "clip", "clip_by_block_rms", "clip_by_global_norm", "conditionally_mask", "conditionally_transform",
    "differentially_private_aggregate", "ema", "flatten", "freeze", "inject_hyperparams", "inject_stateful_hyperparams",
    "hutchinson_estimator_diag_hessian", "identity",
    "keep_params_nonnegative", "masked", "measure_with_ema", "monitor", "multi_transform", "named_chain", "normalize",
    "normalize_by_update_norm", "partition", "reduce_on_plateau", "selective_transform", "set_to_zero", "snapshot",
    "split_real_and_imaginary", "stateless", "stateless_with_tree_map", "trace", "with_extra_args_support", "zero_nans",
}  # fmt: skip


def makes_a_transform(function):
    """By its annotation; where there is none, by a learning rate among its arguments."""
    # nadam is a partial of adam.
    if not (inspect.isfunction(function) or isinstance(function, functools.partial)):
        return False
    returned = str(inspect.signature(function).return_annotation)
    rated = "learning_rate" in inspect.signature(function).parameters
    return "GradientTransformation" in returned or (rated and returned == str(inspect.Signature.empty))


def test_every_optimizer_of_optax_is_known_or_refused_with_a_reason(family):
    """A version of optax with a new one fails here: give it a rule in families.py, or a reason in refused.py."""
    found = {
        name: function
        for module in (optax, optax.contrib)
        for name, function in vars(module).items()
        if name[0] != "_" and makes_a_transform(function)
    }
    optimizers = {name for name in found if not name.startswith("scale_by_") and name not in NO_OPTIMIZERS}
    optimizers -= {"scale"}
    assert optimizers == set(families()) | set(REFUSED)
    plan = family.plan(zeros(32))
    for name, reason in REFUSED.items():
        with pytest.raises(ValueError, match=re.escape(f"wrap({name}): {reason}")):
            mupwd.wrap(found[name], plan)
    page = (Path(__file__).parents[2] / "docs/optimizer.md").read_text()
    missing = [name for name in optimizers if not re.search(rf"\b{name}\b", page)]
    assert not missing, "docs/optimizer.md lists every optimizer"


def test_what_is_not_known_is_refused_with_what_to_do(family):
    plan = family.plan(zeros(32))
    with pytest.raises(ValueError, match=r"wrap\(prodigy\): it estimates one step size from all parameters"):
        mupwd.wrap(optax.contrib.prodigy, plan)
    with pytest.raises(ValueError, match=r"wrap\(prodigy\): it estimates one step size from all parameters"):
        mupwd.wrap(functools.partial(optax.contrib.prodigy, 0.1), plan)
    with pytest.raises(
        ValueError,
        match=r"wrap\(mine\): its rule is not known here. Known are .*lion.*scale_by_plan_gradient",
    ):
        mupwd.wrap(mine, plan)
    batch = family.plan(zeros(32), recipe="completed_p", batch_ratio=2.0)
    with pytest.raises(ValueError, match=r"recipe completed_p scales 1 - beta by 2 .* derived for Adam"):
        mupwd.wrap(optax.lion, batch)
    assert mupwd.wrap(optax.nadamw, batch)(1e-3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'lr'"):
        mupwd.wrap(optax.sgd, plan)(0.1, lr=0.1)


def test_what_is_no_factory_is_told_what_to_give(family):
    plan = family.plan(zeros(32))
    wanted = re.escape("give the function itself, as in mupwd.wrap(optax.sgd, plan)(0.1)")
    for given, is_what in ((optax.sgd(0.1), "a finished optimizer"), ("sgd", "'sgd'"), (None, "None")):
        with pytest.raises(TypeError, match=f"mupwd.wrap was given {is_what}.*{wanted}"):
            mupwd.wrap(given, plan)


@pytest.mark.parametrize("name", [*FACTORIES, "muon"])
def test_rates_that_cannot_be_meant_are_refused(family, name):
    make = mupwd.wrap(factory(name), family.plan(zeros(32)))
    rates = {"learning_rate", "weight_decay", "weight_decay_rate", "adam_learning_rate", "adam_weight_decay"}
    for rate in rates & set(inspect.signature(make).parameters):
        with pytest.raises(ValueError, match=f"{rate} must be a finite number, 0 or more; got -0.1"):
            make(**{"learning_rate": LEARNING_RATE} | {rate: -0.1})
