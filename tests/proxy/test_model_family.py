"""The roles that tracing finds in the proxy, and its own initial values against the family's measure of them."""

import pytest

from mupwd.proxy import ProxyConfig, family
from mupwd.proxy.model import initial_std

BLOCK = {
    "attention/k/kernel": "matrix",
    "attention/o/kernel": "matrix",
    "attention/q/kernel": "matrix",
    "attention/v/kernel": "matrix",
    "attention_norm/scale": "vector",
    "mlp/down/kernel": "matrix",
    "mlp/gate/kernel": "matrix",
    "mlp/up/kernel": "matrix",
    "mlp_norm/scale": "vector",
}
ENDS = {"embedding": "input", "norm/scale": "vector", "readout/kernel": "output"}
CASES = {
    "plain": ({}, {}),
    "grouped": ({"kv_groups": 2}, {}),
    "narrow": ({"kv_heads": 2}, {"attention/k/kernel": "narrow", "attention/v/kernel": "narrow"}),
    "qk_norm": (
        {"qk_norm": True},
        {"attention/q_norm/scale": "scalar", "attention/k_norm/scale": "scalar"},
    ),
    "scan": ({"scan": True}, {}),
    "tied": ({"tied": True}, {}),
    "bfloat16": ({"dtype": "bfloat16"}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_roles(case):
    fields, changed = CASES[case]
    config = ProxyConfig(**fields)
    prefixes = ["layers/"] if config.scan else ["layers/0/", "layers/1/"]
    expected = {p + path: role for p in prefixes for path, role in {**BLOCK, **changed}.items()} | ENDS
    if config.tied:
        expected["embedding"] = "tied"
        del expected["readout/kernel"]
    found = family(config, base=32).parameters
    assert {path: parameter.role for path, parameter in found.items()} == expected
    assert {path for path, parameter in found.items() if parameter.residual} == {
        path for path in expected if path.startswith("layers/")
    }


@pytest.mark.parametrize("fields", [{"kv_heads": 2}, {"tied": True}])
def test_its_own_standard_deviations_are_what_the_family_measures(fields):
    config = ProxyConfig(layers=1, **fields)
    made = family(config, base=32)
    plan = made.plan(128, form="forward" if config.tied else "folded")
    measured = made.init_factors(plan)
    for path, p in plan.items():
        own = initial_std(path, p.base_shape, config.tied) / initial_std(path, p.shape, config.tied)
        assert p.init * own == pytest.approx(measured.get(path, 1.0)), path
