"""Results on disk: whole, once, and set aside where damaged."""

import errno
import json
import os

import pytest
from helpers.together import together

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
    assert len(list(store.results())) == 1


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


def test_half_written_files_of_a_killed_process_are_removed_and_fresh_ones_left(tmp_path):
    first = Store(tmp_path, print)
    old, fresh = (first.directory / f".{name}.tmp" for name in ("old", "fresh"))
    for left in (old, fresh):
        left.write_text("{")
    os.utime(old, (1e9, 1e9))
    Store(tmp_path, print)
    assert (old.exists(), fresh.exists()) == (False, True)


def test_of_many_processes_that_record_a_trial_one_succeeds(tmp_path):
    printed = together(
        3,
        "import pathlib\n"
        "from mupwd.sweep.store import Store\n"
        "from mupwd.sweep.trial import Result, Trial\n"
        "store = Store(pathlib.Path(sys.argv[1]), print)\n",
        "for seed in range(200):\n"
        "    trial = Trial(32, {'learning_rate': 0.1, 'weight_decay': 0.2}, seed)\n"
        "    try: store.put(Result(trial, {'eval/loss': float(sys.argv[2])}, 1.0)); print(seed)\n"
        "    except FileExistsError: pass\n",
        tmp_path,
    )
    wrote = [set(text.split()) for text in printed]
    assert sum(map(len, wrote)) == 200
    for one in Store(tmp_path, print).results():
        assert str(one.trial.seed) in wrote[int(one.loss)]


def test_results_are_listed_without_the_damaged_and_what_else_lies_there(store, notices):
    for seed in range(3):
        store.put(result(float(seed), seed))
    store.path(result(seed=1).trial).write_text("{")
    store.folder(result(seed=0).trial).mkdir()
    (store.directory / ".half.tmp").write_text("{")
    (store.directory / "notes.json").write_text("{}")
    assert sorted(one.loss for one in store.results()) == [0.0, 2.0]
    assert len(notices) == 1


def test_failures_are_kept_one_after_the_other_and_damaged_ones_set_aside(store, notices):
    trial = result().trial
    assert store.failures(trial) == []
    store.put_failure(trial, "first")
    assert store.put_failure(trial, "second") == ["first", "second"]
    assert store.failures(trial) == ["first", "second"]
    (path,) = (store.directory.parent / "failed").glob("*.json")
    path.write_text("{")
    assert store.failures(trial) == []
    assert "set aside" in notices[0]


def test_a_full_disk_is_said_so(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk is full"):
        store.put(result())
    monkeypatch.undo()
    assert store.get(result().trial) is None
    assert not list(store.directory.glob(".*"))
