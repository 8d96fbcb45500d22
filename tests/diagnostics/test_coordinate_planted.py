"""The coordinate check on the proxy: the right set-up passes, and every planted mistake is found where it is."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.coordinates import Bench

import mupwd
from mupwd.proxy.config import ProxyConfig
from mupwd.proxy.corpus import corpus
from mupwd.proxy.model import next_token_loss
from mupwd.proxy.model_family import family

WIDTHS = (32, 64, 128)
LAYER = "layers/0/"


@pytest.fixture(scope="module")
def text():
    tokens = corpus().batch(seed=0, step=0, batch_size=2, sequence_length=16).astype(np.int32)
    return tokens[:, :-1], tokens[:, 1:]


@pytest.fixture(scope="module")
def proxy(text):
    """One key-value head at every width: its kernels are narrow."""
    made = family(ProxyConfig(layers=1, kv_heads=1), base=32)
    return Bench(made, text, next_token_loss, learning_rate=2**-11, widths=WIDTHS)


@pytest.fixture(scope="module")
def tied(text):
    made = family(ProxyConfig(layers=1, tied=True), base=32)
    return Bench(made, text, next_token_loss, learning_rate=2**-11, widths=WIDTHS, form="forward")


def m_in(exponent):
    return lambda planned: planned.m_in**exponent


def m_out(exponent):
    return lambda planned: planned.m_out**exponent


def test_the_right_set_up_passes(proxy):
    check = proxy.check()
    assert check.verdict == "pass", str(check)
    assert {line.path for line in check.lines} == set(check.plans[32])
    # What distinguishes the roles is seen, not assumed.
    initial = {line.path: line.exponent for line in check.lines if line.quantity == "initial gain"}
    assert initial["readout/kernel"] == pytest.approx(-0.5, abs=0.1)
    assert initial[f"{LAYER}attention/k/kernel"] == pytest.approx(-0.5, abs=0.15)
    assert initial[f"{LAYER}mlp/up/kernel"] == pytest.approx(0, abs=0.1)


# what is wrong, and (quantity, exponent) of what must fail
MISTAKES = {
    "learning rate not scaled on one matrix": (
        f"{LAYER}attention/q/kernel",
        {"lr": m_in(1)},
        {"change": 1},
    ),
    "learning rate scaled twice": (f"{LAYER}mlp/down/kernel", {"lr": m_in(-1)}, {"change": -1}),
    "learning rate not scaled on a narrow kernel": (
        f"{LAYER}attention/k/kernel",
        {"lr": m_in(1)},
        {"change": 1},
    ),
    "fan-out for fan-in on a narrow kernel": (
        f"{LAYER}attention/v/kernel",
        {"init": m_in(1), "lr": m_in(1)},
        {"initial gain": 0.5, "change": 1},
    ),
    "a narrow kernel initialised as a matrix": (
        f"{LAYER}attention/v/kernel",
        {"init": m_in(0.5)},
        {"initial gain": 0},
    ),
    "constant initial values of a matrix": (
        f"{LAYER}mlp/up/kernel",
        {"init": m_in(0.5)},
        {"initial gain": 0.5},
    ),
    "initial values of a matrix scaled twice": (
        f"{LAYER}attention/o/kernel",
        {"init": m_in(-0.5)},
        {"initial gain": -0.5},
    ),
    "embedding's learning rate divided by the width": ("embedding", {"lr": m_out(-1)}, {"change": -1}),
    "embedding's initial values scaled": ("embedding", {"init": m_out(-0.5)}, {"initial gain": -0.5}),
    "fan-out for fan-in on the embedding": (
        "embedding",
        {"init": m_out(-0.5), "lr": m_out(-1)},
        {"initial gain": -0.5, "change": -1},
    ),
    "a gain's learning rate divided by the width": ("norm/scale", {"lr": m_out(-1)}, {"change": -1}),
    "a gain's learning rate multiplied by the width": (
        f"{LAYER}mlp_norm/scale",
        {"lr": m_out(1)},
        {"change": 1},
    ),
    "readout not scaled at all": (
        "readout/kernel",
        {"init": m_in(1), "lr": m_in(1)},
        {"initial gain": 0.5, "change": 1},
    ),
    "readout initialised as a matrix": ("readout/kernel", {"init": m_in(0.5)}, {"initial gain": 0}),
    "readout's learning rate not scaled": ("readout/kernel", {"lr": m_in(1)}, {"change": 1}),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_where_it_is(proxy, mistake):
    path, factors, expected = MISTAKES[mistake]
    check = proxy.check(**{quantity: {path: factor} for quantity, factor in factors.items()})
    assert check.verdict == "fail"
    assert check.failed == [path], str(check)
    wrong = {line.quantity: line.exponent for line in check[path] if line.verdict == "fail"}
    assert wrong == pytest.approx(expected, abs=0.3)
    assert f"✗ {path}: its " in str(check)


def test_two_mistakes_at_once(proxy):
    paths = ["embedding", f"{LAYER}mlp/gate/kernel"]
    check = proxy.check(init={paths[0]: m_out(-0.5)}, lr={paths[1]: m_in(1)})
    assert check.failed == paths


def test_two_mistakes_of_which_one_upsets_the_others(proxy):
    """Values that grow fill the residual stream with the tokens' mean, and align the updates behind it."""
    wrong = f"{LAYER}attention/v/kernel"
    check = proxy.check(init={wrong: m_in(1.5)}, lr={f"{LAYER}mlp/up/kernel": m_in(1)})
    assert check.failed == [wrong, f"{LAYER}mlp/up/kernel"], str(check)


def test_a_parameter_that_does_not_move_is_named(proxy):
    path = f"{LAYER}attention/o/kernel"
    check = proxy.check(lr={path: lambda planned: 0.0})
    assert [line.note for line in check[path]] == ["", "does not move"]
    assert check.verdict == "pass"
    assert f"does not move: {path}" in str(check)


def test_a_parameter_that_moves_at_some_widths_only_fails(proxy):
    path = f"{LAYER}attention/o/kernel"
    check = proxy.check(lr={path: lambda planned: float(planned.m_in < 4)})
    assert check.failed == [path]
    assert check[path][1].note == "zero at width 128, and not at the others"


def test_a_readout_that_starts_at_zero(proxy):
    check = proxy.check(init={"readout/kernel": lambda planned: 0.0})
    initial, change = check["readout/kernel"]
    assert (initial.verdict, initial.note) == (None, "starts at zero")
    assert change.verdict == "pass"
    assert check.failed == [], str(check)
    assert "starts at zero, so that there is no initial gain to fit: readout/kernel" in str(check)


def test_a_diverged_run_fails_with_its_width_and_step(proxy):
    path = "readout/kernel"
    check = proxy.check(lr={path: lambda planned: jnp.inf if planned.m_in == 2 else 1.0})
    assert check.verdict == "fail"
    assert (check.diverged[0].width, check.diverged[0].seed, check.diverged[0].step) == (64, 0, 1)
    assert "not finite at width 64, seed 0, step 1 (and 3 other runs)" in str(check)
    # What was measured before that still counts.
    assert check[path][0].verdict == "pass"


def test_a_tied_head_passes(tied):
    check = tied.check()
    assert check.verdict == "pass", str(check)
    assert [line.name for line in check["embedding"]] == ["embedding (lookup)"] * 2 + [
        "embedding (readout)"
    ] * 2


def test_a_tied_head_that_is_not_scaled_is_found(text):
    made = family(ProxyConfig(layers=1, tied=True), base=32)

    def unscaled(width):
        plan = made.plan(width, form="forward")
        parameters = tuple(dataclasses.replace(p, forward=1.0) for p in plan.values())
        return dataclasses.replace(plan, parameters=parameters)

    check = mupwd.coordinate_check(
        made, text, next_token_loss, plan=unscaled, learning_rate=2**-11, widths=WIDTHS, seeds=2, steps=2
    )
    assert check.failed == ["embedding"], str(check)
    assert {line.name for line in check.lines if line.verdict == "fail"} == {"embedding (readout)"}


def test_sp_fails_as_a_whole(proxy):
    """Against mupwd, it leaves learning rates alone, and initial values as the model draws them."""
    roles = {path: planned.role for path, planned in proxy.plans[32].items()}
    scaled = {path: m_in(1) for path, role in roles.items() if role in ("matrix", "narrow", "output")}
    drawn = {path: m_in(0.5) for path, role in roles.items() if role in ("narrow", "output")}
    assert set(proxy.check(lr=scaled, init=drawn).failed) == set(scaled)
