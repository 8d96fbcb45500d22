"""Two processes with two devices each train what one device does; killed together, they go on together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mupwd.proxy import train
from mupwd.proxy.hosts import from_first, join
from mupwd.proxy.metrics_log import read_metrics

ROOT = Path(__file__).parents[2]
LAUNCHER = ROOT / "scripts" / "train_many_hosts.py"
SIZES = {"layers": 1, "batch_size": 8, "sequence_length": 32, "eval_batches": 2, "warmup": 4, "steps": 24}
EVERY = {"log_every": 2, "eval_every": 12, "checkpoint_every": 8}
# As in test_mesh.py: sums in another order.
TOLERANCE = 1e-4

FULL = """
import json, sys
from mupwd.proxy import train
from mupwd.proxy.hosts import join

coordinator, me, values, directory, found = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), *sys.argv[4:]
join(coordinator, 2, me)
result = train(32, {**values, "sharding": "full"}, seed=3, directory=directory)
again = train(32, {**values, "sharding": "full"}, seed=3, directory=directory)

def refused(seed, place=directory, **changes):
    try:
        train(32, {**values, "sharding": "full", **changes}, seed, place)
    except ValueError as error:
        return str(error)

errors = [refused(4), refused(me), refused(3, place=f"{directory}-{me}"), refused(3, sharding="none")]
with open(f"{found}-{me}", "w") as file:
    json.dump([result, again, errors], file)
"""

FAILS = """
import sys
from mupwd.proxy.hosts import check_same, ending_together, from_first, is_first, join

join(sys.argv[1], 2, int(sys.argv[2]))
assert from_first(lambda: "x" * 5000 + sys.argv[2]) == "x" * 5000 + "0"
with ending_together():
    if is_first():
        raise OSError("nothing is left")
    from_first(lambda: None)
"""


def start(*arguments: object) -> list[subprocess.Popen[str]]:
    """Two processes; {0} and {1} in an argument become the coordinator's address and the process's number."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    return [
        subprocess.Popen(
            [sys.executable, *(str(one).replace("{0}", coordinator).replace("{1}", me) for one in arguments)],
            env={**os.environ, "XLA_FLAGS": flags},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for me in ("0", "1")
    ]


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit codes and what was printed."""
    try:
        return [(one.wait(), text) for one in processes for text in one.communicate(timeout=180)[:1]]
    finally:
        for one in processes:
            one.kill()


@pytest.fixture(scope="module")
def values(text_folder):
    return {"learning_rate": 2**-5, "weight_decay": 0.125, "corpus": str(text_folder), **SIZES, **EVERY}


@pytest.fixture(scope="module")
def alone(values, tmp_path_factory):
    """The run on one device."""
    directory = tmp_path_factory.mktemp("alone") / "run"
    return train(32, values, seed=3, directory=directory), directory


def same_run(directory, alone):
    """The files are those of the run on one device, each record was written once, and the numbers agree."""
    result, expected = alone
    assert sorted(path.name for path in directory.iterdir()) == sorted(
        path.name for path in expected.iterdir()
    )
    steps = [sorted(path.name for path in (one / "checkpoints").iterdir()) for one in (directory, expected)]
    assert steps[0] == steps[1] == ["16", "24"]
    records, wanted = read_metrics(directory), read_metrics(expected)
    assert [record["step"] for record in records] == [record["step"] for record in wanted]
    for record, one in zip(records, wanted, strict=True):
        for name in one.keys() - {"time", "train/tokens_per_second"}:
            np.testing.assert_allclose(record[name], one[name], rtol=TOLERANCE, err_msg=name)
    found = json.loads((directory / "result.json").read_text())
    assert found["status"] == "finished"
    assert found["eval/loss"] == pytest.approx(result["eval/loss"], rel=TOLERANCE)
    return found


@pytest.mark.slow
def test_data_parallel_by_the_launcher(values, alone, tmp_path):
    directory = tmp_path / "run"
    settings = {
        name: value for name, value in values.items() if name not in ("learning_rate", "weight_decay")
    }
    processes = start(
        LAUNCHER, "--coordinator", "{0}", "--processes", 2, "--process_id", "{1}", "--sharding", "data",
        "--width", 32, "--learning_rate", "2^-5", "--weight_decay", "2^-3", "--seed", 3, "--out", directory,
        *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
    )  # fmt: skip
    (first, shown), (second, silent) = ended(processes)
    assert (first, second) == (0, 0), shown + silent
    found = same_run(directory, alone)
    assert "2 processes, 4 devices (cpu)" in shown
    assert f"eval/loss: {found['eval/loss']}" in shown
    assert "loss" not in silent


def test_fully_sharded_and_killed_on_the_way(values, alone, tmp_path):
    directory, log = tmp_path / "run", tmp_path / "run" / "metrics.jsonl"
    command = ("-c", FULL, "{0}", "{1}", json.dumps(values), directory, tmp_path / "found")
    processes = start(*command)
    deadline = time.monotonic() + 180
    while not (log.exists() and log.read_bytes().count(b"\n") >= 5):
        assert all(one.poll() is None for one in processes), ended(processes)
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    for one in processes:
        one.send_signal(signal.SIGKILL)
    assert [code for code, _ in ended(processes)] == [-signal.SIGKILL] * 2
    assert not (directory / "result.json").exists()
    before = (directory / "manifest.json").read_bytes()

    outcomes = ended(start(*command))
    assert [code for code, _ in outcomes] == [0, 0], outcomes
    found = same_run(directory, alone)
    assert (directory / "manifest.json").read_bytes() == before
    told = [json.loads((tmp_path / f"found-{me}").read_text()) for me in (0, 1)]
    for result, again, errors in told:
        assert result == again == found
        another, differing, apart, none = errors
        assert "holds another run" in another
        assert "seed: 3 in the directory, 4 asked for" in another
        assert "the run is not the same in all processes: not in 1" in differing
        assert "which all processes must share for the sake of checkpoints, is not the same" in apart
        assert none.startswith("sharding='none' trains on one device, and 2 processes run together")
    assert "seed: 1 in process 1, 0 in process 0" in told[1][2][1]


def test_where_one_fails_the_other_ends():
    (first, text), (second, _) = ended(start("-c", FAILS, "{0}", "{1}"))
    assert (first, second != 0) == (1, True)
    assert "OSError: nothing is left" in text


def test_with_one_process_nothing_is_asked_of_others():
    def fails():
        raise OSError("full")

    assert from_first(lambda: 3) == 3
    with pytest.raises(OSError, match="full"):
        from_first(fails)


def test_processes_that_are_told_half_of_it():
    with pytest.raises(ValueError, match="processes and process_id missing: give all of coordinator, "):
        join("localhost:1234")


def test_no_cluster_around():
    code = "from mupwd.proxy.hosts import join; join()"
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "OMPI", "KUB"))
    }
    done = subprocess.run([sys.executable, "-c", code], env=outside, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ValueError: no cluster was found around this process" in done.stderr
