"""Results on disk: whole, once, and set aside where damaged."""

import errno
import json
import os
import subprocess
import sys

import pytest

from mupwd.sweep.errors import StoreBusyError
from mupwd.sweep.store import Store
from mupwd.sweep.trial import Result, Trial


def result(loss=1.0, seed=0):
    return Result(
        Trial(32, {"learning_rate": 0.1, "weight_decay": 0.2, "recipe": "sp"}, seed), {"eval/loss": loss}, 1.0
    )


@pytest.fixture
def notices():
    return []


@pytest.fixture
def store(tmp_path, notices):
    return Store(tmp_path / "sweep", notices.append)


def test_what_is_put_is_got(store):
    assert store.get(result().trial) is None
    store.put(result(1.25))
    assert store.get(result().trial).loss == 1.25
    assert store.count() == 1


def test_a_finished_trial_is_not_recorded_twice(store):
    store.put(result(1.0))
    with pytest.raises(FileExistsError, match="a finished trial is not run again"):
        store.put(result(2.0))
    assert store.get(result().trial).loss == 1.0


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: b"\xff\xfe\x00garbage",
        lambda text: text.replace('"seed": 0', '"seed": 3'),
        lambda text: json.dumps(result(seed=1).as_json()),
        lambda text: "[1, 2]",
    ],
)
def test_a_damaged_result_is_set_aside_with_a_notice(store, notices, damage):
    store.put(result())
    path = store.path(result().trial)
    damaged = damage(path.read_text())
    path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    assert store.get(result().trial) is None
    assert len(notices) == 1
    assert "set aside" in notices[0]
    assert path.with_suffix(".damaged0").exists()
    store.put(result(3.0))
    assert store.get(result().trial).loss == 3.0


def test_a_second_damaged_file_does_not_replace_the_first(store, notices):
    for _ in range(2):
        store.path(result().trial).write_text("{")
        assert store.get(result().trial) is None
    assert len(list(store.directory.glob("*.damaged*"))) == 2


def test_half_written_files_of_a_killed_process_are_removed(store):
    left = store.directory / f".{result().trial.id}.json.abc123"
    left.write_text("{")
    with store.lock():
        assert not left.exists()


def test_two_processes_do_not_share_a_directory(store):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib; from mupwd.sweep.store import Store\n"
            "with Store(pathlib.Path(sys.argv[1]), print).lock(): print('held', flush=True); time.sleep(60)",
            str(store.directory.parent),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreBusyError, match="another process is running trials in"), store.lock():
            pass
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    # The system let go of it.
    with store.lock():
        pass


def test_a_full_disk_is_said_so(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk is full"):
        store.put(result())
    monkeypatch.undo()
    assert store.get(result().trial) is None
    assert not list(store.directory.glob(".*.json.*"))
