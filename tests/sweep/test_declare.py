"""Sweeps as they are declared: files, flags, and what is wrong with them."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mupwd.sweep.declare import Sweep, fields_of, read_declaration, read_sweep, write_sweep

TOML = """
widths = [64, 32]
learning_rates = "2^-6:2^-4"
weight_decays = [0.5]
recipes = ["mupwd", "fitted(0.8)"]
seeds = 2
steps = 40
[hyperparameters]
layers = 1
decay = "independent"
"""
PYTHON = """
widths = tuple(32 * 2**k for k in range(2))
learning_rates = [2.0**k for k in range(-6, -3)]
weight_decays = 0.5
recipes, seeds, steps = ("mupwd", "fitted(0.8)"), range(2), 40
hyperparameters = dict(layers=1, decay="independent")
something_else = 3
"""


@pytest.mark.parametrize(("name", "text"), [("sweep.toml", TOML), ("sweep.py", PYTHON)])
def test_a_file_declares_a_grid(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    sweep = Sweep(**read_declaration(tmp_path / name))
    assert (sweep.widths, sweep.base, sweep.target) == ((32, 64), 32, 64)
    assert len(sweep.trials) == len({one.id for one in sweep.trials}) == 2 * 2 * 3 * 1 * 2
    one = sweep.trials[0]
    assert one.seed == 0
    assert one.hyperparameters == {
        "layers": 1, "decay": "independent", "base": 32, "steps": 40, "warmup": 4, "recipe": "mupwd",
        "learning_rate": 2**-6, "weight_decay": 0.5,
    }  # fmt: skip


def test_a_sweep_survives_its_directory(tmp_path):
    (tmp_path / "s.toml").write_text(TOML)
    sweep = Sweep(**read_declaration(tmp_path / "s.toml"))
    write_sweep(tmp_path, sweep)
    again = read_sweep(tmp_path)
    assert again == sweep
    assert [one.id for one in again.trials] == [one.id for one in sweep.trials]
    assert read_sweep(tmp_path / "nothing") is None
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match=r"sweep\.json is damaged .*finished trials are kept"):
        read_sweep(tmp_path)
    (tmp_path / "sweep.json").write_text("[]")
    with pytest.raises(ValueError, match=r"sweep\.json is damaged \(expected an object, found list\)"):
        read_sweep(tmp_path)


def test_tokens_grow_with_the_parameters_and_the_rule_is_told(tmp_path):
    given = {"layers": 1, "batch_size": 4, "sequence_length": 16}
    sweep = Sweep((32, 64), (0.1,), (0.1,), tokens_per_parameter=2.0, seeds=(0,), hyperparameters=given)
    narrow, wide = (one.hyperparameters for one in sweep.trials)
    # embedding and readout, 4 attention matrices, 3 of the MLP, 3 gains
    parameters = [2 * 256 * d + 4 * d * d + 9 * d * d + 3 * d for d in (32, 64)]
    assert [one["steps"] for one in (narrow, wide)] == [-(-2 * count // 64) for count in parameters]
    assert narrow["token_ratio"] == 1.0
    assert wide["token_ratio"] == wide["steps"] / narrow["steps"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": ()}, "widths must be one or more different values"),
        ({"widths": (32, 32)}, "widths must be one or more different values"),
        ({"widths": ("a",)}, "widths: 'a' is not a whole number of at least 1"),
        ({"widths": (0,)}, "widths: 0 is not a whole number of at least 1"),
        ({"learning_rates": (float("inf"),)}, "learning_rates: inf is not a number above 0"),
        ({"recipes": ("fitted(0.8)", "fitted(0.80)")}, "are the same rule"),
        ({"steps": 2.5}, r"steps must be a whole number above 0, got 2\.5"),
        ({"base": 32.0}, r"base must be a whole number above 0, got 32\.0"),
        ({"steps": [3]}, "steps must be a whole number above 0"),
        (
            {"hyperparameters": {"layers": [1, 2]}},
            "sweep: hyperparameter 'layers' must be a number, a string",
        ),
        ({"hyperparameters": {"clip": math.nan}}, "sweep: hyperparameter 'clip' must be finite, got nan"),
        ({"learning_rates": (0.1, 0.0)}, r"learning_rates: 0\.0 is not a number above 0"),
        ({"learning_rates": (float("nan"),)}, "learning_rates: nan is not a number above 0"),
        ({"weight_decays": (-1.0,)}, r"weight_decays: -1\.0 is not a number above 0"),
        ({"weight_decays": (0.0,)}, r"weight_decays: 0\.0 is not a number above 0"),
        ({"recipes": ("muwpd",)}, "did you mean 'mupwd'"),
        ({"seeds": (True,)}, "seeds: True is not a whole number"),
        ({"steps": None}, "give either steps or tokens_per_parameter"),
        ({"tokens_per_parameter": 2.0}, "give either steps or tokens_per_parameter"),
        ({"steps": 0}, "steps must be a whole number above 0, got 0"),
        ({"base": -3}, "base must be a whole number above 0"),
        ({"steps": None, "tokens_per_parameter": 2.0, "train": "a:b"}, "give steps for a model of your own"),
        ({"steps": None, "tokens_per_parameter": float("inf")}, "must be a number above 0, got inf"),
        ({"train": print}, 'train must be a name, "package.module:function"'),
        ({"hyperparameters": {"steps": 3}}, "may not hold 'steps': the sweep says it"),
    ],
)
def test_what_is_no_sweep_is_refused(changes, message):
    right = {"widths": (32, 64), "learning_rates": (0.1,), "weight_decays": (0.1,), "steps": 10}
    Sweep(**right)
    with pytest.raises(ValueError, match=message):
        Sweep(**{**right, **changes})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "widht = [3]", "unknown field 'widht'; did you mean 'widths'"),
        ("a.toml", "layers = 3", "belongs into hyperparameters"),
        ("a.toml", "widths = [", "is not TOML"),
        ("a.toml", 'learning_rates = "2^a"', r"a\.toml: learning_rates: expected LOW:HIGH"),
        ("a.toml", "hyperparameters = 3", "must be a table"),
        ("a.toml", "seeds = 0", r"a\.toml: seeds: expected how many, from 1 to 100,000, or a list; got 0"),
        ("a.toml", "seeds = 99999999999", "seeds: expected how many"),
        ("a.toml", "hyperparameters.layers = inf\nwidths = [", "is not TOML"),
        ("a.py", "1 / 0", r"a\.py failed: ZeroDivisionError: division by zero \(.*a\.py:1\)"),
        ("a.py", "raise SystemExit(3)", r"a\.py failed: SystemExit: 3 \(.*a\.py:1\)"),
        ("a.py", "def f(:", r"a\.py failed: SyntaxError: .* \(.*a\.py:1\)"),
        ("a.yaml", "", r"expected a \.toml or a \.py file"),
    ],
)
def test_a_file_that_declares_nonsense_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_declaration(tmp_path / name)


@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=4, unique=True),
    st.lists(st.floats(1e-8, 10.0), min_size=1, max_size=4, unique=True),
    st.lists(st.floats(1e-6, 100.0), min_size=1, max_size=3, unique=True),
    st.integers(1, 3),
)
def test_a_grid_holds_every_point_once_and_json_changes_nothing(widths, rates, decays, seeds):
    sweep = Sweep(tuple(widths), tuple(rates), tuple(decays), seeds=tuple(range(seeds)), steps=5, train="a:b")
    assert len({one.id for one in sweep.trials}) == len(widths) * len(rates) * len(decays) * seeds
    assert Sweep(**fields_of(sweep.as_json(), "json")) == sweep
    assert dataclasses.replace(sweep, seeds=(0, 1, 2, 3)).trials[: len(widths)] != ()
