"""The results of all trials in a few small files, which can be committed, and read again."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from presets import Preset

from mupwd.files import write_atomically
from mupwd.proxy.manifest import read_manifest
from mupwd.sweep.store import Store
from mupwd.sweep.trial import Result
from mupwd.transfer.observations import Observation

_IDENTITY = ("horizon", "sweep", "recipe", "width", "learning_rate", "weight_decay", "seed")
_RUN = ("steps", "stop_at", "status", "loss", "seconds", "decay_elapsed")
_LATE = "_last_quarter"


@dataclass(frozen=True)
class Row:
    """One trial.

    Attributes:
      horizon, sweep: where it belongs: "fixed" or "growing", "rules" or "controls".
      observation: recipe, width, pair, seed and loss.
      steps: of its schedule.
      seconds: that it took.
      decay_elapsed: the sum of `lr_t * wd` over the steps, at the base.
      late: means over the last quarter of the steps, and values at the end, by the metric's name.
    """

    horizon: str
    sweep: str
    observation: Observation
    steps: int
    seconds: float
    decay_elapsed: float
    late: Mapping[str, float]


def write_results(preset: Preset, trials: Path, sweeps: Iterable[str], out: Path) -> list[Path]:
    """Writes trials.csv.gz and about.json, and exponent.json where it was measured; returns the files.

    What is in `out` of other sweeps stays: a horizon can be run on another day, or machine.

    Args:
      preset: that ran.
      trials: the directory of its sweeps.
      sweeps: that are complete there, as "fixed/rules".
      out: where to.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = [out / "trials.csv.gz", out / "about.json"]
    manifests = {
        name: {**read_manifest(trials / name), "revisions": _revisions(trials / name)}
        for name in sorted(sweeps)
    }
    found = [
        (Path(name).parent.name, Path(name).name, result)
        for name in manifests
        for result in Store(trials / name, print).results()
    ]
    found.sort(key=lambda one: (*one[:2], one[2].trial.width, one[2].trial.id))
    metrics = {name for _, _, result in found for name in _kept(result)}
    earlier: list[dict[str, str]] = []
    if files[0].is_file():
        table = _table(files[0])
        earlier = [row for row in table if f"{row['horizon']}/{row['sweep']}" not in manifests]
        metrics |= {name for row in earlier for name, value in row.items() if value} - {*_IDENTITY, *_RUN}
        before = json.loads(files[1].read_text(encoding="utf-8"))["sweeps"]
        manifests = dict(sorted({**before, **manifests}.items()))
    header = [*_IDENTITY, *_RUN, *sorted(metrics)]
    rows = [[row.get(name, "") for name in header] for row in earlier]
    rows += [[horizon, sweep, *_cells(result, sorted(metrics))] for horizon, sweep, result in found]
    # Stable: within a sweep the order is that of the widths and trials.
    rows.sort(key=lambda row: row[:2])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    # Without a time in it, so that equal results are equal files.
    write_atomically(files[0], gzip.compress(text.getvalue().encode(), mtime=0))
    about = {"preset": preset.name, "machine": preset.machine, "sweeps": manifests}
    write_atomically(files[1], (json.dumps(about, indent=1) + "\n").encode())
    if (trials / "exponent" / "exponent.json").is_file():
        files.append(out / "exponent.json")
        write_atomically(files[2], (trials / "exponent" / "exponent.json").read_bytes())
    return files


def read_results(folder: Path) -> tuple[list[Row], dict[str, Any], dict[str, Any] | None]:
    """Returns the trials, what they ran on, and the measured exponents if there are any.

    Args:
      folder: as `write_results` left it.
    """
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    exponent = folder / "exponent.json"
    measured = json.loads(exponent.read_text(encoding="utf-8")) if exponent.is_file() else None
    return list(_rows(_table(folder / "trials.csv.gz"))), about, measured


def _table(file: Path) -> csv.DictReader[str]:
    return csv.DictReader(io.StringIO(gzip.decompress(file.read_bytes()).decode()))


def _revisions(folder: Path) -> list[str]:
    """Of the code that a sweep was started and gone on with, the first one first."""
    later = sorted((folder / "environments").glob("*.json"), key=lambda file: file.stat().st_mtime)
    found = [read_manifest(folder)["environment"]["git_revision"]]
    found += [json.loads(file.read_text(encoding="utf-8"))["git_revision"] for file in later]
    return [str(one) for one in dict.fromkeys(found)]


def _kept(result: Result) -> dict[str, float]:
    """What the page needs of a trial's metrics: the late mean where there is one, else the last value."""
    wanted = ("sigma_1", "sigma_2", "sigma_3", "sigma_4", "stable_rank", "fro")
    found: dict[str, float] = {}
    for name, value in result.metrics.items():
        kind, _, path = name.partition("/")
        stem = path.rpartition("/")[2].removesuffix(_LATE)
        if (kind == "gain" or (kind == "spectral" and stem in wanted)) and not isinstance(value, str):
            key = name.removesuffix(_LATE)
            if name != key or key + _LATE not in result.metrics:
                found[key] = value
    return found


def _cells(result: Result, names: Iterable[str]) -> Iterator[str]:
    trial, kept = result.trial, _kept(result)
    given = trial.hyperparameters
    yield from (given["recipe"], str(trial.width), repr(given["learning_rate"]), repr(given["weight_decay"]))
    yield from (
        str(trial.seed),
        str(given["steps"]),
        str(given.get("stop_at") or ""),
        str(result.metrics["status"]),
    )
    yield from (repr(result.loss), f"{result.seconds:.3g}", _number(result.metrics["train/decay_elapsed"]))
    yield from (_number(kept.get(name, math.nan)) for name in names)


def _number(value: float | str) -> str:
    """Five digits: seeds differ in the second."""
    return "" if isinstance(value, float) and math.isnan(value) else f"{value:.5g}"


def _rows(table: csv.DictReader[str]) -> Iterator[Row]:
    for row in table:
        observation = Observation(
            row["recipe"],
            int(row["width"]),
            float(row["learning_rate"]),
            float(row["weight_decay"]),
            int(row["seed"]),
            math.inf if row["stop_at"] else float(row["loss"]),
            bool(row["stop_at"]),
        )
        late = {
            name: float(value) for name, value in row.items() if value and name not in (*_IDENTITY, *_RUN)
        }
        yield Row(
            row["horizon"],
            row["sweep"],
            observation,
            int(row["steps"]),
            float(row["seconds"]),
            float(row["decay_elapsed"] or "nan"),
            late,
        )
