"""Full disks: a device that is always full, and a small file system where the system lets us mount one."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mupwd.proxy.disk import explain_full_disk, write_atomic
from mupwd.proxy.metrics_log import MetricsLog


def test_a_log_on_a_full_device_says_what_to_do(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    with (
        MetricsLog(path) as log,
        pytest.raises(OSError, match="could not write the metrics log") as error,
    ):
        log.write(1, {"train/loss": 1.0})
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(path)
    assert "start the same command again" in str(error.value)


def test_text_of_a_library_s_error_is_recognised(tmp_path):
    def library():
        raise ValueError("UNAVAILABLE: write failed: No space left on device [source.cc:12]")

    def wrapper():
        try:
            library()
        except ValueError as error:
            raise RuntimeError("save failed") from error

    with (
        pytest.raises(OSError, match="could not write a checkpoint"),
        explain_full_disk(tmp_path, "a checkpoint"),
    ):
        wrapper()


def test_other_errors_pass(tmp_path):
    with pytest.raises(ValueError, match=r"^something else$"), explain_full_disk(tmp_path, "a checkpoint"):
        raise ValueError("something else")


def test_atomic_write_replaces_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "file.json"
    write_atomic(path, "old")
    write_atomic(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


# A small file system for the run's directory: the first checkpoints fit, later ones do not.
SMALL = """
mount -t tmpfs -o size={size} none "$1" && exec {python} -c "
import sys
from mupwd.proxy import train
run = sys.argv[1] + '/run'
tuned = dict(learning_rate=2**-5, weight_decay=0.1)
fields = dict(layers=1, batch_size=2, sequence_length=16, eval_batches=1, warmup=0, steps=40, log_every=1)
try:
    train(64, dict(**tuned, **fields, checkpoint_every=10, keep_checkpoints=4, corpus=sys.argv[2]), 0, run)
except OSError as error:
    print(error.errno, error)
from mupwd.proxy.metrics_log import read_metrics
print('records', len(read_metrics(run)))
from pathlib import Path
print('checkpoints', sorted(int(e.name) for e in Path(run, 'checkpoints').iterdir() if e.name.isdigit()))
" "$1" "$2"
"""


def test_a_run_on_a_file_system_that_fills_up(tmp_path, text_folder):
    mount = tmp_path / "small"
    mount.mkdir()
    probe = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", str(mount)]
    try:
        allowed = subprocess.run(probe, capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("this system does not let a user mount a small file system in a namespace of its own")
    script = SMALL.format(size="1400k", python=sys.executable)
    command = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        script,
        "sh",
        str(mount),
        str(text_folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert f"{errno.ENOSPC} [Errno {errno.ENOSPC}] the disk is full: could not write" in done.stdout
    assert "checkpoints [10" in done.stdout
    assert Path(mount).exists()
