"""A LLaMA of 405B parameters, planned from shapes alone."""

import gc
import math

import jax
import pytest
from jax.core import Tracer

import mupwd
from mupwd.proxy import ProxyConfig
from mupwd.proxy import family as proxy_family

LAYERS, BASE, WIDTH = 126, 2048, 16384
LLAMA_405B = {
    "vocab_size": 128256,
    "layers": LAYERS,
    "head_dim": 128,
    "kv_heads": 8,
    "mlp_ratio": 3.25,
    "dtype": "bfloat16",
}
ENDS = {"embedding", "norm/scale", "readout/kernel"}


@pytest.fixture(scope="module")
def plans():
    gc.collect()  # what earlier tests left must not go in the meantime
    arrays = len(jax.live_arrays())
    made = {}
    for name, scan in (("unrolled", False), ("scanned", True)):
        family = proxy_family(ProxyConfig(**LLAMA_405B, scan=scan), base=BASE)
        made[name] = family.plan(WIDTH)
    gc.collect()
    assert len(jax.live_arrays()) == arrays
    return made


def numbers(p):
    return (p.role, p.m_in, p.m_out, p.lr, p.wd, p.eps, p.init, p.forward)


def test_every_parameter_has_a_plan(plans):
    for name, count in (("unrolled", 9 * LAYERS + 3), ("scanned", 9 + 3)):
        assert len(plans[name]) == count
        assert sum(math.prod(p.shape) for p in plans[name].values()) == 405_853_388_800


def test_scanned_and_unrolled_layers_have_the_same_multipliers(plans):
    unrolled, scanned = plans["unrolled"], plans["scanned"]
    for path, p in scanned.items():
        if path in ENDS:
            assert numbers(unrolled[path]) == numbers(p)
            continue
        assert p.stack_axes == (0,)
        name = path.removeprefix("layers/")
        assert {numbers(unrolled[f"layers/{i}/{name}"]) for i in range(LAYERS)} == {numbers(p)}


def test_its_numbers(plans):
    roles = {path.removeprefix("layers/"): p.role for path, p in plans["scanned"].items()}
    assert roles == {
        "embedding": "input",
        "attention_norm/scale": "vector",
        "attention/q/kernel": "matrix",
        "attention/k/kernel": "narrow",
        "attention/v/kernel": "narrow",
        "attention/o/kernel": "matrix",
        "mlp_norm/scale": "vector",
        "mlp/gate/kernel": "matrix",
        "mlp/up/kernel": "matrix",
        "mlp/down/kernel": "matrix",
        "norm/scale": "vector",
        "readout/kernel": "output",
    }
    down = plans["unrolled"]["layers/125/mlp/down/kernel"]
    assert (down.shape, down.lr, down.wd) == ((53248, 16384), 1 / 8, pytest.approx(8**0.5))


def test_its_table_is_short(plans):
    for name, plan in plans.items():
        lines = plan.table(learning_rate=3e-4, weight_decay=0.1).splitlines()
        assert len(lines) < 60, name
        assert max(map(len, lines)) <= 120


def test_it_is_planned_from_shapes_and_words_as_well():
    def shapes(width):
        hidden = 13 * width // 4
        block = {
            "attention_norm": (width,),
            "q": (width, width),
            "k": (width, 1024),
            "v": (width, 1024),
            "o": (width, width),
            "mlp_norm": (width,),
            "gate": (width, hidden),
            "up": (width, hidden),
            "down": (hidden, width),
        }
        tree = {
            "embedding": (128256, width),
            "layers": [block] * LAYERS,
            "norm": (width,),
            "readout": (width, 128256),
        }
        return jax.tree.map(
            lambda shape: jax.ShapeDtypeStruct(shape, "bfloat16"),
            tree,
            is_leaf=lambda x: isinstance(x, tuple),
        )

    axes = {
        "embedding": "lookup out",
        "readout": "output: in out",
        ".*norm": "elementwise",
        "layers/.*/[kv]": "narrow: in out",
        "layers/.*/(q|o|gate|up|down)": "in out",
    }
    family = mupwd.family_from_shapes(shapes(BASE), shapes(2 * BASE), axes=axes)
    plan = family.plan(shapes(WIDTH))
    assert sum(math.prod(p.shape) for p in plan.values()) == 405_853_388_800
    assert plan["layers/125/down"].lr == 1 / 8


def test_tracers_are_not_asked_where_they_come_from_while_models_are_read(monkeypatch):
    searched = []
    # In the place of jax's own, whose message needs a search through the program so far: quadratic in depth.
    verbose = property(lambda tracer: searched.append(tracer))
    monkeypatch.setattr(Tracer, "sharding", verbose)

    def build(width):
        assert getattr(jax.numpy.ones(width), "sharding", None) is None
        return lambda params, x: x @ params, jax.numpy.ones((3, width))

    mupwd.family(build, base=8, inputs=(jax.numpy.ones((2, 3)),)).plan(32)
    assert searched == []
    with pytest.raises(ZeroDivisionError):
        mupwd.family(lambda width: 1 // 0, base=8, inputs=())
    assert vars(Tracer)["sharding"] is verbose
    jax.eval_shape(lambda: build(8)[1])
    assert len(searched) == 1
