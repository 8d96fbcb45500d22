"""The table: against literals, and within 120 columns whatever the paths."""

import pytest
from helpers.parameters import llama, llama_plan, parameter

from mupwd.plan import PlanError, make_plan
from mupwd.plan.table import WIDTH, elided

PRINTED = """\
recipe mupwd, width 64 → 256
folded form: the model is untouched
weight decay is coupled: a step decays by lr * wd * w

  parameter                          base→target       m_in  m_out  lr ×  wd ×  eps ×  init ×
input
  embed/embedding                    100, 64→256          1      4     1  none   0.25       1
matrix
  layers/*/attention/q/kernel    ×2  64→256, 4→16, 16     4      4  0.25     2   0.25     0.5
  layers/*/attention/o/kernel    ×2  4→16, 16, 64→256     4      4  0.25     2   0.25     0.5
  layers/*/mlp/gate/kernel       ×2  64→256, 256→1024     4      4  0.25     2   0.25     0.5
  layers/*/mlp/up/kernel         ×2  64→256, 256→1024     4      4  0.25     2   0.25     0.5
  layers/*/mlp/down/kernel       ×2  256→1024, 64→256     4      4  0.25     2   0.25     0.5
narrow
  layers/*/attention/k/kernel    ×2  64→256, 1, 16        4      1  0.25     2      1    0.25
  layers/*/attention/v/kernel    ×2  64→256, 1, 16        4      1  0.25     2      1    0.25
output
  readout/kernel                     64→256, 100          4      1  0.25  none      1    0.25
vector
  layers/*/attention/norm/scale  ×2  64→256               1      4     1  none   0.25       1
  layers/*/mlp/norm/scale        ×2  64→256               1      4     1  none   0.25       1
  norm/scale                         64→256               1      4     1  none   0.25       1"""


def test_a_plan_prints_as():
    assert str(llama_plan(64, 256)) == PRINTED


def test_the_numbers_to_use():
    text = llama_plan(64, 256).table(learning_rate=3e-3, weight_decay=0.1)
    assert text.startswith(PRINTED)
    assert "At the base: learning rate 0.003, weight decay 0.1 (coupled)." in text
    rows = {
        line.split()[0]: line.split()[1:]
        for line in text[len(PRINTED) :].splitlines()
        if line.startswith("  ")
    }
    assert " ".join(rows["parameter"]) == "learning rate weight decay lr*wd base target steps base target"
    # ×2, then learning rate, weight decay, lr * wd at base and target, 1 / (lr * wd) at base and target
    assert rows["layers/*/mlp/up/kernel"] == ["×2", "0.00075", "0.2", "0.0003", "0.00015", "3,333", "6,667"]
    assert rows["embed/embedding"] == ["0.003", "none", "none", "none", "none", "none"]


def test_a_learning_rate_alone():
    text = llama_plan(64, 256).table(learning_rate=3e-3)
    assert "At the base: learning rate 0.003\n" in text
    assert ["readout/kernel", "0.00075"] in [line.split() for line in text.splitlines()]
    assert "lr*wd base" not in text


def test_a_decay_alone_asks_for_the_learning_rate():
    assert "Give learning_rate as well" in llama_plan(64, 256).table(weight_decay=0.1)


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_bad_numbers(bad):
    with pytest.raises(PlanError, match="weight_decay must be"):
        llama_plan(64, 256).table(learning_rate=1e-3, weight_decay=bad)
    with pytest.raises(PlanError, match="learning_rate must be"):
        llama_plan(64, 256).table(learning_rate=bad)


def test_what_the_header_says():
    parameters, _ = llama(64, 64)
    _, shapes = llama(64, 256, layers=4)
    plan = make_plan(
        parameters, shapes, recipe="completed_p", form="forward", depth_ratio=2.0, batch_ratio=0.5
    )
    header = plan.table().split("\n\n")[0]
    assert header == (
        "recipe completed_p, depth ×2, batch ×0.5\n"
        'forward form: the model multiplies by the factors in the column "forward"\n'
        "weight decay is coupled: a step decays by lr * wd * w\n"
        "the model multiplies each residual branch by 0.5\n"
        "1 - beta of both of Adam's moments is multiplied by 0.5"
    )
    folded = make_plan(parameters, shapes, recipe="completep", depth_ratio=2.0)
    assert "folded form: no factor at the output\n" in str(folded)


def test_the_forward_column_is_there_in_forward_form_only():
    forward = llama_plan(64, 256, form="forward").table()
    assert forward.splitlines()[4].endswith("init ×  forward")
    [line] = [line for line in forward.splitlines() if "readout" in line]
    assert line.split()[-6:] == ["1", "1", "none", "0.25", "1", "0.25"]


def test_sp_shows_that_the_initial_values_are_the_models_own():
    rows = [line for line in str(llama_plan(64, 256, recipe="sp")).splitlines() if line.startswith("  ")]
    assert len(rows) == 13
    assert all(row.endswith("own") for row in rows[1:])


@pytest.mark.parametrize("length", [10, 60, 119, 300])
def test_columns_align_within_120_columns(length):
    path = "encoder/" + "x" * length + "/kernel"
    parameters = {
        path: parameter(
            path, "matrix", (126, 16384, 3, 53248), (126, 16384 * 7, 3, 53248 * 3), "stack in in out"
        ),
        "b": parameter("b", "vector", (7,), (123457,), "elementwise"),
        "s": parameter("s", "scalar", (), (), ""),
    }
    shapes = {path: (126, 16384 * 7, 3, 53248 * 3), "b": (123457,), "s": ()}
    plan = make_plan(parameters, shapes, form="forward", base=16384, width=16384 * 7)
    for block in plan.table(learning_rate=1.2345e-5, weight_decay=1.2345e-5).split("\n\n"):
        lines = block.splitlines()
        assert max(map(len, lines)) <= WIDTH
        if lines[0].startswith("  parameter"):
            assert len({len(line) for line in lines if line.startswith("  ")}) == 1
    assert "kernel" in plan.table()


def test_eliding_keeps_both_ends():
    assert elided("encoder/layers/kernel", 12) == "enco…/kernel"
    assert elided("short", 12) == "short"
    assert len(elided("encoder/layers/kernel", 2)) == 2


def test_layers_that_differ_are_not_one_row():
    parameters, shapes = llama(64, 256, layers=3)
    shapes["layers/1/mlp/up/kernel"] = (256, 2048)
    lines = [line.split() for line in str(make_plan(parameters, shapes)).splitlines() if "mlp/up" in line]
    assert [line[:2] for line in lines] == [
        ["layers/*/mlp/up/kernel", "×2"],
        ["layers/1/mlp/up/kernel", "64→256,"],
    ]


def test_a_llama_of_405_billion_parameters_is_a_dozen_lines():
    layers, width = 126, 16384
    plan = llama_plan(256, width, layers=layers)
    assert len(plan) == 9 * layers + 3
    lines = plan.table(learning_rate=3e-3, weight_decay=0.1).split("\n\n")[1].splitlines()
    assert len(lines) == 1 + 5 + 12
    assert sum("×126" in line for line in lines) == 9
