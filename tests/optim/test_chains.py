"""Steps that are a share of the parameter's size: what they are at norm 0, and where no ratio is taken."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mupwd

AXES = {"up": "in out", "gain": "elementwise", "readout": "output: in out"}


def full(d, value):
    return {"up": jnp.full((d, d), value), "gain": jnp.full((d,), value), "readout": jnp.full((d, 2), value)}


@pytest.fixture(scope="module")
def family():
    return mupwd.family_from_shapes(full(8, 0.0), full(16, 0.0), axes=AXES)


def first_step(tx, params, gradients):
    with jax.numpy_dtype_promotion("standard"):
        return tx.update(gradients, tx.init(params), params)[0]


@pytest.mark.parametrize("form", ["folded", "forward"])
@pytest.mark.parametrize("name", ["lamb", "lars", "fromage", "adafactor"])
def test_a_step_from_zero_is_the_bases_times_the_learning_rates_factor(family, name, form):
    """The gradients are as large as theory says, so that each entry of a step is `f_lr` times the base's.

    The learning rate is small, for fromage shrinks by its square.
    """
    steps, plans = {}, {}
    for d in (8, 32):
        plans[d] = family.plan(full(d, 0.0), form=form)
        gradients = {path: jnp.full(one.shape, one.gradient_size) for path, one in plans[d].items()}
        steps[d] = first_step(mupwd.wrap(getattr(optax, name), plans[d])(1e-3), full(d, 0.0), gradients)
    for path, one in plans[32].items():
        base = float(steps[8][path].ravel()[0])
        assert base < 0
        np.testing.assert_allclose(steps[32][path], base * one.lr, rtol=1e-4, err_msg=path)


def test_lars_decays_as_sgd_where_it_takes_no_ratio(family):
    params, still = full(32, 1.0), full(32, 0.0)
    plan = family.plan(params)
    given = {"learning_rate": 0.5, "weight_decay": 0.1}
    ratio = {"up": False, "gain": True, "readout": True}
    for mask in (ratio, lambda params: ratio, False):
        step = first_step(mupwd.wrap(optax.lars, plan)(**given, trust_ratio_mask=mask), params, still)
        one = plan["up"]
        np.testing.assert_allclose(step["up"], -0.5 * 0.1 * one.lr * one.wd, rtol=1e-6)
    with pytest.raises(ValueError, match="trust_ratio_mask: 'upp' is no parameter of the plan"):
        mupwd.wrap(optax.lars, plan)(**given, trust_ratio_mask={"upp": False})
