"""The trials of a directory as tables, for analysis: SQLite, or Parquet."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mupwd.proxy.disk import written_aside
from mupwd.sweep.trial import LOSS, Result, Trial

SQLITE_NAME, PARQUET_NAME = "trials.sqlite", "trials.parquet"
_COLUMNS = {
    "id": "TEXT PRIMARY KEY",
    "status": "TEXT",
    "recipe": "TEXT",
    "width": "INTEGER",
    "learning_rate": "REAL",
    "weight_decay": "REAL",
    "seed": "INTEGER",
    "step": "INTEGER",
    "stop_at": "INTEGER",
    "eval_loss": "REAL",
    "train_loss": "REAL",
    "seconds": "REAL",
    "hyperparameters": "TEXT",
    "error": "TEXT",
}


def rows(results: Iterable[Result], failed: Mapping[Trial, str]) -> list[dict[str, Any]]:
    """Returns one row per trial; losses that are not finite are None.

    Args:
      results: finished and diverged trials.
      failed: `{trial: error}`.
    """
    found = []
    for result in results:
        metrics = result.metrics
        found.append(
            _of(result.trial)
            | {
                "status": _status(result),
                "step": metrics.get("step"),
                "eval_loss": _finite(metrics[LOSS]),
                "train_loss": _finite(metrics.get("train/loss")),
                "seconds": result.seconds,
                "error": None,
            }
        )
    nothing = dict.fromkeys(("step", "eval_loss", "train_loss", "seconds"))
    for trial, error in failed.items():
        found.append(_of(trial) | nothing | {"status": "failed", "error": error})
    return found


def write_sqlite(file: Path, results: Iterable[Result], failed: Mapping[Trial, str]) -> None:
    """Writes tables `trials` (one row each) and `metrics` (id, name, value), in the place of what was there.

    Args:
      file: where to.
      results: finished and diverged trials.
      failed: `{trial: error}`.

    Raises:
      OSError: it could not be written; a full disk is said so.
    """
    results = list(results)
    metrics = [
        (result.trial.id, name, _finite(value))
        for result in results
        for name, value in result.metrics.items()
        if not isinstance(value, str)
    ]
    columns = list(_COLUMNS)
    try:
        with written_aside(file) as drawn, contextlib.closing(sqlite3.connect(drawn)) as base, base:
            base.execute(f"CREATE TABLE trials ({', '.join(f'{k} {v}' for k, v in _COLUMNS.items())})")
            base.execute("CREATE TABLE metrics (id TEXT, name TEXT, value REAL, PRIMARY KEY (id, name))")
            base.executemany(
                f"INSERT INTO trials VALUES ({', '.join('?' * len(columns))})",
                [tuple(row[name] for name in columns) for row in rows(results, failed)],
            )
            base.executemany("INSERT INTO metrics VALUES (?, ?, ?)", metrics)
    except sqlite3.Error as error:
        raise OSError(f"could not write {file}: {error}") from error


def write_parquet(file: Path, results: Iterable[Result], failed: Mapping[Trial, str]) -> None:
    """Writes the table of trials as Parquet.

    Args:
      file: where to.
      results: finished and diverged trials.
      failed: `{trial: error}`.

    Raises:
      ModuleNotFoundError: pyarrow is not installed.
      OSError: it could not be written.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ModuleNotFoundError("Parquet needs pyarrow: pip install 'mupwd[parquet]'") from None
    with written_aside(file) as drawn:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows(results, failed)), drawn)


def _status(result: Result) -> str:
    if not math.isfinite(result.loss):
        return "diverged"
    return "finished" if result.trial.stop_at is None else "stopped"


def _of(trial: Trial) -> dict[str, Any]:
    values = trial.hyperparameters
    return {
        "id": trial.id,
        "recipe": values.get("recipe"),
        "width": trial.width,
        "learning_rate": values["learning_rate"],
        "weight_decay": values["weight_decay"],
        "seed": trial.seed,
        "stop_at": trial.stop_at,
        "hyperparameters": json.dumps(dict(values), sort_keys=True),
    }


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value - value == 0 else None
