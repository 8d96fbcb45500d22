"""Tables for analysis."""

import math
import os
import sqlite3
import sys

import pyarrow.parquet
import pytest

from mupwd.sweep.table import write_parquet, write_sqlite
from mupwd.sweep.trial import Result, Trial


def trial(seed, width=32):
    return Trial(
        width, {"learning_rate": 0.1, "weight_decay": 0.2, "recipe": 'it\'s "so"\n', "steps": 5}, seed
    )


RESULTS = [
    Result(
        trial(0), {"eval/loss": 1.5, "train/loss": 1.25, "step": 5, "status": "finished", "x": math.inf}, 2.0
    ),
    Result(trial(1), {"eval/loss": math.nan, "step": 3, "status": "diverged"}, 1.0),
]
FAILED = {trial(2): "Traceback\nValueError: 'quotes' and; DROP TABLE trials"}


def test_sqlite_holds_every_trial_and_metric_and_replaces_what_was_there(tmp_path):
    file = tmp_path / "trials.sqlite"
    for _ in range(2):
        write_sqlite(file, RESULTS, FAILED)
    base = sqlite3.connect(file)
    rows = base.execute(
        "SELECT seed, status, eval_loss, step, recipe, error FROM trials ORDER BY seed"
    ).fetchall()
    assert rows == [
        (0, "finished", 1.5, 5, 'it\'s "so"\n', None),
        (1, "diverged", None, 3, 'it\'s "so"\n', None),
        (2, "failed", None, None, 'it\'s "so"\n', FAILED[next(iter(FAILED))]),
    ]
    assert base.execute(
        "SELECT value FROM metrics WHERE id = ? AND name = 'x'", (trial(0).id,)
    ).fetchall() == [(None,)]
    assert (
        base.execute("SELECT json_extract(hyperparameters, '$.steps') FROM trials").fetchall() == [(5,)] * 3
    )
    base.close()
    assert os.listdir(tmp_path) == ["trials.sqlite"]


def test_parquet_holds_the_same_rows(tmp_path):
    write_parquet(tmp_path / "t.parquet", RESULTS, FAILED)
    table = pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert [(row["seed"], row["status"], row["eval_loss"]) for row in table] == [
        (0, "finished", 1.5),
        (1, "diverged", None),
        (2, "failed", None),
    ]


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path):
    with pytest.raises(OSError, match=r"t\.sqlite"):
        write_sqlite(tmp_path / "nothing" / "t.sqlite", RESULTS, {})


def test_a_stopped_trial_is_told_from_a_whole_one(tmp_path):
    whole = trial(0)
    stopped = Trial(32, {**whole.hyperparameters, "stop_at": 2}, 0)
    results = [
        Result(one, {"eval/loss": 1.5, "step": 5 if one is whole else 2}, 1.0) for one in (whole, stopped)
    ]
    write_sqlite(tmp_path / "t.sqlite", results, {})
    base = sqlite3.connect(tmp_path / "t.sqlite")
    assert base.execute("SELECT status, stop_at, step FROM trials ORDER BY step").fetchall() == [
        ("stopped", 2, 2),
        ("finished", None, 5),
    ]
    base.close()


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"Parquet needs pyarrow: pip install 'mupwd\[parquet\]'"):
        write_parquet(tmp_path / "t.parquet", [], {})
