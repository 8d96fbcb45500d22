"""Numbers that other implementations and papers give, and the rows where they are wrong."""

import pytest
from helpers.parameters import Shape, plan_of_one

from mupwd.tracing.roles import Role

# Torch layout (out, in). Multipliers of microsoft/mup 1.0's MuAdamW in forward form, read off a run of it;
# the last column is the decay of the mupwd recipe. init, lr, forward, wd linear, wd constant, wd mupwd.
MUP = [
    pytest.param("input", (64, 784), (256, 784), "out in", 1, 1, 1, 1, 1, 0, id="1a fc1"),
    pytest.param("matrix", (64, 64), (256, 256), "out in", 0.5, 0.25, 1, 4, 1, 2, id="1b fc2"),
    pytest.param("vector", (64,), (256,), "elementwise", 1, 1, 1, 1, 1, 0, id="1c bias"),
    pytest.param("output", (10, 64), (10, 256), "out in", 1, 1, 0.25, 1, 1, 0, id="1d readout"),
    pytest.param("input", (1000, 256), (1000, 1024), "lookup out", 1, 1, 1, 1, 1, 0, id="2a embedding"),
    pytest.param("matrix", (256, 256), (1024, 1024), "out in", 0.5, 0.25, 1, 4, 1, 2, id="2b q, o"),
    pytest.param("matrix", (128, 256), (512, 1024), "out in", 0.5, 0.25, 1, 4, 1, 2, id="2b k"),
    pytest.param(
        "matrix", (256, 688), (1024, 2736), "out in", 0.50146, 0.25146, 1, 3.97674, 1, 1.99418, id="2c down"
    ),
    pytest.param(
        "matrix",
        (768, 256),
        (2304, 768),
        "stack+out in",
        0.57735,
        0.33333,
        1,
        3,
        1,
        1.73205,
        id="4 fused qkv",
    ),
    pytest.param("matrix", (1024, 256), (2048, 1024), "out in", 0.5, 0.25, 1, 4, 1, 2, id="5a up"),
    pytest.param("matrix", (256, 1024), (1024, 2048), "out in", 0.70711, 0.5, 1, 2, 1, 1.41421, id="5b down"),
    pytest.param("tied", (100, 32), (100, 128), "lookup out", 1, 1, 0.25, 1, 1, 0, id="13 tied"),
]


@pytest.mark.parametrize(
    ("role", "base", "target", "axes", "init", "lr", "forward", "linear", "constant", "ours"), MUP
)
def test_the_multipliers_of_microsoft_mup(
    role: Role, base: Shape, target: Shape, axes: str, init, lr, forward, linear, constant, ours
):
    for recipe, wd in (("mup_linear", linear), ("mup", constant), ("mupwd", ours)):
        p = plan_of_one(role, base, target, axes, recipe=recipe, form="forward")
        assert (p.init, p.lr, p.forward, p.wd) == pytest.approx((init, lr, forward, wd), abs=5e-6), recipe


def test_the_readout_in_folded_form():
    p = plan_of_one("output", (10, 64), (10, 256), "out in", recipe="mupwd", form="folded")
    assert (p.init, p.lr, p.forward, p.wd) == (0.25, 0.25, 1.0, 0.0)


# JAX layouts that ports of muP get wrong: they read one axis, or know no narrow kernels.
PEERS = [
    pytest.param("matrix", (64, 2, 16), (256, 4, 16), "in out out", 0.25, 2, 0.5, id="heads on an axis"),
    pytest.param("matrix", (64, 128), (256, 256), "in out", 0.25, 2, 0.5, id="in first"),
    pytest.param("narrow", (256, 128), (1024, 128), "in out", 0.25, 2, 0.25, id="fixed kv heads"),
]


@pytest.mark.parametrize(("role", "base", "target", "axes", "lr", "wd", "init"), PEERS)
def test_what_peers_get_wrong(role: Role, base: Shape, target: Shape, axes: str, lr, wd, init):
    p = plan_of_one(role, base, target, axes)
    assert (p.m_in, p.lr, p.wd, p.init) == (4.0, lr, wd, init)


def test_megatrons_hidden_learning_rates_and_epsilon():
    p = plan_of_one("matrix", (64, 64), (256, 256), "in out")
    assert (1e-3 * p.lr, 1e-5 * p.lr, p.eps) == pytest.approx((2.5e-4, 2.5e-6, 1 / 4), rel=1e-12)


@pytest.mark.parametrize(
    ("recipe", "shrinks_by"), [("mup_linear", 1.0e-3), ("mup", 2.5e-4), ("mupwd", 5.0e-4)]
)
def test_the_decay_of_one_step(recipe, shrinks_by):
    p = plan_of_one("matrix", (64, 64), (256, 256), "in out", recipe=recipe)
    assert (1e-2 * p.lr) * (0.1 * p.wd) == pytest.approx(shrinks_by, rel=1e-12)
