"""A process killed at any moment, and started again, ends with the log of one that was never killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mupwd.proxy.metrics_log import read_metrics

SCRIPT = """
import sys
from mupwd.proxy import train

fields = {"layers": 1, "batch_size": 4, "sequence_length": 32, "eval_batches": 2, "warmup": 10, "steps": 360}
every = {"log_every": 4, "eval_every": 120, "checkpoint_every": 30}
tuned = {"learning_rate": 2**-5, "weight_decay": 0.1}
train(32, {**tuned, **fields, **every, "corpus": sys.argv[1]}, seed=3, directory=sys.argv[2])
"""


def start(corpus: Path, directory: Path) -> subprocess.Popen[bytes]:
    # The threads of XLA's matrix products would otherwise share the work differently on a busy machine.
    environment = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(corpus), str(directory)], env=environment)


def lines(directory: Path) -> int:
    log = directory / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def is_saving(directory: Path) -> bool:
    checkpoints = directory / "checkpoints"
    return checkpoints.exists() and any("tmp" in entry.name for entry in checkpoints.iterdir())


def kill_when(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def numbers(directory: Path) -> list[dict[str, float]]:
    timings = ("time", "train/tokens_per_second")
    return [{k: v for k, v in record.items() if k not in timings} for record in read_metrics(directory)]


@pytest.fixture(scope="module")
def uninterrupted(text_folder, tmp_path_factory):
    directory = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert start(text_folder, directory).wait() == 0
    return directory


def test_killed_between_checkpoints_and_while_one_is_written(uninterrupted, text_folder, tmp_path):
    directory = tmp_path / "run"
    process = start(text_folder, directory)
    kill_when(lambda: lines(directory) >= 21, process)
    assert not (directory / "result.json").exists()
    before = lines(directory)
    # A line that the kill tore.
    with open(directory / "metrics.jsonl", "ab") as log:
        log.write(b'{"step": 9')

    process = start(text_folder, directory)
    kill_when(lambda: lines(directory) > before + 5 and is_saving(directory), process)
    reached = max(record["step"] for record in read_metrics(directory))
    assert 0 < reached < 360

    assert start(text_folder, directory).wait() == 0
    assert numbers(directory) == numbers(uninterrupted)
    results = [json.loads((d / "result.json").read_text()) for d in (directory, uninterrupted)]
    for result in results:
        del result["train/tokens_per_second"]
    assert results[0] == results[1]
    assert results[0]["status"] == "finished"
