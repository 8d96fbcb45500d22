"""What is predicted for which parameter, and what a coordinate check refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mupwd
from mupwd.diagnostics.coordinate_theory import forward_factor, half_steps, powers_of, predicted

WIDTHS = (32, 64, 128)
X, Y = np.ones((4, 3), np.float32), np.zeros((4, 2), np.float32)


def loss(outputs, targets):
    return jnp.mean((outputs - targets) ** 2)


def family_of(fn, **shapes):
    """A family whose parameters have these shapes, as functions of the width."""

    def build(width):
        sizes = {name: shape(width) for name, shape in shapes.items()}
        return fn, {name: jnp.ones(size) / 8 for name, size in sizes.items()}

    return mupwd.family(build, base=32, inputs=(X,))


def two_layers():
    return family_of(lambda p, x: x @ p["in"] @ p["out"], **{"in": lambda d: (3, d), "out": lambda d: (d, 2)})


@pytest.mark.parametrize("role", ["matrix", "input", "output", "narrow", "wide", "vector", "scalar", "tied"])
def test_no_change_may_depend_on_the_width(role):
    assert powers_of(role, "product", "change") == (0, 0)


def test_initial_gains_by_role():
    falling = [
        r
        for r in ("matrix", "input", "output", "narrow", "wide", "vector", "scalar")
        if powers_of(r, "product", "initial gain") == (-0.5, -0.5)
    ]
    assert falling == ["output", "narrow"]
    assert powers_of("tied", "lookup", "initial gain") == (0, 0)
    assert powers_of("tied", "readout", "initial gain") == (-0.5, 0)


def test_a_readout_of_a_size_that_grows_faster_than_the_width():
    family = family_of(
        lambda p, x: x @ p["in"] @ p["out"],
        **{"in": lambda d: (3, d * d // 8), "out": lambda d: (d * d // 8, 2)},
    )
    plans = {width: family.plan(width) for width in WIDTHS}
    assert predicted(plans, "out", "readout", "initial gain") == pytest.approx((-1, -1))
    assert predicted(plans, "in", "product", "initial gain") == (0, 0)


@pytest.mark.parametrize("form", ["folded", "forward"])
def test_the_forward_factor_of_either_form_makes_one_gain(form):
    plan = two_layers().plan(128, form=form)["out"]
    # rms(W x) / rms(x) is sqrt(fan_in) std: std 1/m and factor 1, or std 1 and factor 1/m.
    assert plan.init * forward_factor(plan, "readout") == pytest.approx(1 / 4)


def test_factors_of_the_models_own():
    family = mupwd.family(
        lambda width: (
            lambda p, x: (x @ p["in"]) * width**0.5 @ p["out"] / width,
            {"in": jnp.ones((3, width)), "out": jnp.ones((width, 2))},
        ),
        base=32,
        inputs=(X,),
    )
    plan = family.plan(128)
    assert forward_factor(plan["in"], "product") == pytest.approx(2)
    assert plan["in"].init * forward_factor(plan["in"], "product") == pytest.approx(1)
    assert forward_factor(plan["out"], "readout") == pytest.approx(1 / 4)


def test_deviations_in_steps_of_one_half():
    assert [half_steps(d) for d in (0.26, -0.6, 1.1, 1.4)] == ["width^0.5", "width^0.5", "width", "width^1.5"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (32, 64, 64)}, "three different widths or more"),
        ({"seeds": 0}, "seeds=0: expected 1 or more"),
        ({"steps": 0}, "steps=0: expected 1 or more"),
        ({"learning_rate": None}, "expected the base's learning rate, above 0"),
        ({"learning_rate": -1.0}, "learning_rate must be a finite number above 0; got -1.0"),
        ({"optimizer": lambda plan: mupwd.adamw(1e-3, plan)}, "it has its own; leave them out"),
        ({"level": 1.5}, "level=1.5: expected a number between 0 and 1"),
    ],
)
def test_settings_that_are_refused(settings, message):
    given = {"learning_rate": 1e-3, "widths": WIDTHS, "seeds": 1, "steps": 1} | settings
    with pytest.raises(ValueError, match=message):
        mupwd.coordinate_check(two_layers(), (X, Y), loss, **given)


@pytest.mark.parametrize("settings", [{"seeds": (0, 1)}, {"steps": 2.0}, {"learning_rate": "1e-3"}])
def test_settings_of_another_kind_are_refused(settings):
    """The steady state's checks take the seeds themselves, this one their number."""
    given = {"learning_rate": 1e-3, "widths": WIDTHS, "seeds": 1, "steps": 1} | settings
    with pytest.raises(TypeError, match=next(iter(settings))):
        mupwd.coordinate_check(two_layers(), (X, Y), loss, **given)


def test_batches_of_other_shapes_name_their_step():
    """All steps are one program."""

    def batches(seed, step):
        return (X[: len(X) - step], Y)

    with pytest.raises(ValueError, match=r"batches\(seed=0, step=1\): expected what step 0 has, .*float32\["):
        mupwd.coordinate_check(two_layers(), batches, loss, learning_rate=1e-3, widths=WIDTHS, seeds=1)


def in_and_out(width, seed):
    keys = jax.random.split(jax.random.key(seed))

    def draw(key, *shape):
        return jax.random.normal(key, shape) * np.float32(shape[0] ** -0.5)

    return {"in": draw(keys[0], X.shape[1], width), "out": draw(keys[1], width, Y.shape[1])}


def test_flags_among_the_inputs_stay_python():
    """As in `family`, an input that is no array decides which program is traced."""

    def build(width, seed):
        def fn(params, x, train, activation):
            assert train in (True, False)
            h = x @ params["in"]
            h = jax.nn.relu(h) if activation["name"] == "relu" else h
            return h @ params["out"] * (2.0 if train else 1.0)

        return fn, in_and_out(width, seed)

    flags = (True, {"name": "relu"})
    family = mupwd.family(build, base=WIDTHS[0], inputs=(X, *flags))
    settings = {"learning_rate": 1e-3, "widths": WIDTHS, "seeds": 2, "steps": 1}
    check = mupwd.coordinate_check(family, ((X, *flags), Y), loss, **settings)
    assert check["out"]
    with pytest.raises(ValueError, match=r"step=1\): expected .*False.*; found .*True"):
        mupwd.coordinate_check(family, lambda _, step: ((X, step > 0, flags[1]), Y), loss, **settings)


def test_keys_among_the_inputs_are_stacked():
    """A model with dropout is called with one, another at every step."""

    def build(width, seed):
        def fn(params, x, key):
            h = jax.nn.relu(x @ params["in"])
            return jnp.where(jax.random.bernoulli(key, 0.9, h.shape), h, jnp.zeros_like(h)) @ params["out"]

        return fn, in_and_out(width, seed)

    family = mupwd.family(build, base=WIDTHS[0], inputs=(X, jax.random.key(0)))

    def batches(seed, step):
        return (X, jax.random.fold_in(jax.random.key(seed), step)), Y

    check = mupwd.coordinate_check(family, batches, loss, learning_rate=1e-3, widths=WIDTHS, seeds=1, steps=1)
    assert check["out"]


def test_a_batch_that_is_no_pair():
    with pytest.raises(ValueError, match=r"expected a pair \(inputs, targets\).*found tuple of 3"):
        mupwd.coordinate_check(two_layers(), (X, Y, Y), loss, learning_rate=1e-3)


def test_a_family_that_cannot_build(tmp_path):
    two_layers().save(tmp_path / "family.json")
    loaded = mupwd.Family.load(tmp_path / "family.json")
    with pytest.raises(ValueError, match="does not know how to build its models"):
        mupwd.coordinate_check(loaded, (X, Y), loss, learning_rate=1e-3)


def test_seeds_that_build_does_not_take():
    with pytest.raises(mupwd.TraceError, match=r"build\(width, seed\)"):
        mupwd.coordinate_check(
            two_layers(), (X, Y), loss, learning_rate=1e-3, widths=WIDTHS, seeds=2, steps=1
        )


def test_initial_values_of_another_model():
    def init(width, seed):
        return {"in": jnp.ones((3, width)), "out": jnp.ones((width, 5))}

    with pytest.raises(
        ValueError, match=r"init\(32, …\): expected a parameter out of shape \(32, 2\).*\(32, 5\)"
    ):
        mupwd.coordinate_check(two_layers(), (X, Y), loss, learning_rate=1e-3, widths=WIDTHS, init=init)


def test_a_parameter_that_the_model_does_not_use(capsys):
    family = family_of(
        lambda p, x: x @ p["in"] @ p["out"],
        **{"in": lambda d: (3, d), "out": lambda d: (d, 2), "spare": lambda d: (d,)},
    )
    seen = []

    def batches(seed, step):
        seen.append((seed, step))
        return X, Y

    def init(width, seed):
        values = np.random.default_rng(seed).normal(size=(width, 2)) / width
        return {"in": jnp.ones((3, width)), "out": jnp.float32(values), "spare": jnp.ones(width)}

    check = mupwd.coordinate_check(
        family, batches, loss, learning_rate=1e-3, widths=WIDTHS, seeds=2, steps=1, init=init, progress=True
    )
    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert check.unused == ("spare",)
    assert "the model does not use: spare" in str(check)
    assert check["in"][0].values[64] == (3.0, 3.0)  # aligned: the initial gain is the program's own
    shown = capsys.readouterr()
    assert "5/6 runs, now width 128, seed 1" in shown.err
    assert shown.out == ""
