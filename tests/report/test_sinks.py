"""TensorBoard files as TensorBoard reads them, and what one sink's trouble does to everything else: nothing."""

import contextvars
import math
import struct
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from mupwd.proxy import metric_sinks
from mupwd.proxy.manifest import read_manifest
from mupwd.proxy.metric_sinks import BackgroundSinks
from mupwd.proxy.metrics_log import read_metrics, series
from mupwd.report import RunLog, TensorBoard

RUN = {"width": 64, "learning_rate": 2**-6}


def events(directory):
    """Reads event files: length, its checksum, an event, its checksum, and so on."""
    found = []
    for path in sorted(directory.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,), head = struct.unpack_from("<Q", data, at), data[at : at + 8]
            body = data[at + 12 : at + 12 + length]
            assert struct.unpack_from("<I", data, at + 8) == (masked_crc32c(head),)
            assert struct.unpack_from("<I", data, at + 12 + length) == (masked_crc32c(body),)
            found.append(Event.FromString(body))
            at += 16 + length
    return found


def scalars(directory):
    return [
        (event.step, {value.tag: value.simple_value for value in event.summary.value})
        for event in events(directory)
        if event.summary.value
    ]


class Writer:
    """As CLU's writers: `write_scalars(step, scalars)` and `flush()`."""

    def __init__(self):
        self.seen, self.flushed_after = [], None

    def write_scalars(self, step, scalars):
        self.seen.append((step, scalars))

    def flush(self):
        self.flushed_after = len(self.seen)


class Hangs:
    """Takes its first record and never comes back."""

    def __init__(self):
        self.entered, self.leave = threading.Event(), threading.Event()

    def write_scalars(self, step, scalars):
        self.entered.set()
        self.leave.wait()


@pytest.fixture
def hangs(monkeypatch):
    monkeypatch.setattr(metric_sinks, "PATIENCE_SECONDS", 0.1)
    sink = Hangs()
    yield sink
    sink.leave.set()


def test_tensorboard_reads_back_every_record(tmp_path):
    sink = TensorBoard(tmp_path)
    assert not list(tmp_path.iterdir())
    names = ["train/loss", "spectral/layers[3]/up/kernel/sigma_1", "gain/größe"]
    for step in (1, 2):
        sink.write_scalars(step, dict(zip(names, (step / 3, math.inf, -1.0), strict=True)))
    sink.flush()
    sink.write_scalars(2**40, {"train/loss": math.nan})
    sink.flush()
    assert [event.file_version for event in events(tmp_path) if event.file_version] == ["brain.Event:2"] * 2
    first, second, last = scalars(tmp_path)
    assert first == (1, dict(zip(names, (np.float32(1 / 3), math.inf, -1.0), strict=True)))
    assert second[0] == 2
    assert last[0] == 2**40
    assert math.isnan(last[1]["train/loss"])


def test_two_writers_of_one_folder_do_not_write_over_each_other(tmp_path):
    sinks = [TensorBoard(tmp_path), TensorBoard(tmp_path)]
    for step, sink in enumerate(sinks):
        sink.write_scalars(step, {"a": 1.0})
    for sink in sinks:
        sink.flush()
    assert sorted(scalars(tmp_path)) == [(0, {"a": 1.0}), (1, {"a": 1.0})]


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"TensorBoard files need .*: pip install 'mupwd\[tensorboard\]'"
    ):
        TensorBoard(tmp_path)


def test_a_loop_of_ones_own_writes_what_every_sink_is_given(tmp_path, capsys):
    writer, calls = Writer(), []
    sinks = [TensorBoard(tmp_path), writer, lambda metrics, step: calls.append((step, metrics))]
    with RunLog(tmp_path, RUN, sinks=sinks) as log:
        log(np.int64(1), {"train/loss": jnp.float32(2.5), "count": np.int32(3)})
        log(2, {"train/loss": jnp.bfloat16(1.5), "eval/loss": math.inf})
    expected = [
        (1, {"train/loss": 2.5, "count": 3.0}),
        (2, {"train/loss": 1.5, "eval/loss": math.inf}),
    ]
    records = read_metrics(tmp_path)
    assert [(record.pop("step"), record) for record in records if record.pop("time")] == expected
    assert writer.seen == calls == scalars(tmp_path) == expected
    assert writer.flushed_after == 2
    assert read_manifest(tmp_path)["run"] == RUN
    assert capsys.readouterr().err == ""


def test_a_log_goes_on_from_where_it_is_told(tmp_path):
    with RunLog(tmp_path, RUN) as log:
        for step in (1, 2, 3):
            log(step, {"a": float(step)})
    with pytest.raises(ValueError, match=r"has records up to step 3: give the step .* as resume_from"):
        RunLog(tmp_path, RUN)
    with pytest.raises(ValueError, match=r"width: 64 in the directory, 128 asked for"):
        RunLog(tmp_path, {**RUN, "width": 128}, resume_from=2)
    with RunLog(tmp_path, RUN, resume_from=2) as log:
        log(3, {"a": 30.0})
    assert series(read_metrics(tmp_path), "a") == ([1, 2, 3], [1.0, 2.0, 30.0])


def test_what_is_not_a_metric_or_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"run must hold JSON types only: .* ndarray"):
        RunLog(tmp_path / "a", {"width": np.zeros(2)})
    writer = Writer()
    with RunLog(tmp_path / "b", RUN, sinks=[writer]) as log:
        with pytest.raises(ValueError, match="metric 'a' must be a Python number, got array"):
            log(1, {"a": np.zeros(2)})
        with pytest.raises(TypeError, match="float"):
            log(1.5, {"a": 1.0})
    assert writer.seen == read_metrics(tmp_path / "b") == []


@pytest.mark.parametrize(
    ("sink", "message"),
    [
        (print, r"print does not take \(metrics, step=step\)"),
        (lambda metrics: None, r"does not take \(metrics, step=step\): .*'step'.* Wrap another one"),
        ("runs/tensorboard", r"'runs/tensorboard' is not callable"),
    ],
)
def test_what_is_no_sink_is_refused_at_once(sink, message):
    before = threading.active_count()
    with pytest.raises(ValueError, match=message):
        BackgroundSinks([Writer(), sink])
    assert threading.active_count() == before


def test_a_sink_sees_the_context_of_its_maker():
    """As trackio's `log` needs it, which finds its run by a context variable."""
    variable, seen = contextvars.ContextVar("run"), []
    variable.set("mine")
    with BackgroundSinks([lambda metrics, step: seen.append(variable.get("none"))]) as sinks:
        sinks.write(1, {})
    assert seen == ["mine"]


def test_a_sink_that_hangs_and_one_that_raises_cost_only_their_own_records(
    tmp_path, monkeypatch, capsys, hangs
):
    monkeypatch.setattr(metric_sinks, "QUEUE_RECORDS", 4)
    fine = Writer()

    def raises(metrics, step):
        if step % 2 == 0:
            raise OSError(f"no route to host at step {step}")

    with RunLog(tmp_path, RUN, sinks=[hangs, raises, fine]) as log:
        for step in range(1, 21):
            log(step, {"a": float(step)})
            assert hangs.entered.wait(60)
            # The other two keep up.
            while len(fine.seen) < step:
                time.sleep(0.001)
    assert series(read_metrics(tmp_path), "a")[0] == list(range(1, 21))
    assert [step for step, _ in fine.seen] == list(range(1, 21))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "20 of 20 records did not reach the sink" in told[0]
    assert "it did nothing for 0.1 s" in told[0]
    assert "10 of 20 records did not reach the sink" in told[1]
    assert "its first error: OSError: no route to host at step 2" in told[1]


def test_a_full_queue_is_counted(monkeypatch, capsys):
    monkeypatch.setattr(metric_sinks, "QUEUE_RECORDS", 4)
    entered, leave, seen = threading.Event(), threading.Event(), []

    def slow(metrics, step):
        entered.set()
        assert leave.wait(60)
        seen.append(step)

    with BackgroundSinks([slow]) as sinks:
        sinks.write(0, {})
        assert entered.wait(60)
        for step in range(1, 11):
            sinks.write(step, {})
        leave.set()
    assert seen == [0, 1, 2, 3, 4]
    assert "6 of 11 records did not reach the sink" in (told := capsys.readouterr().err)
    assert "more than 4 waited for it" in told


def test_a_flush_that_fails_or_hangs_is_told_as_what_it_is(monkeypatch, capsys):
    monkeypatch.setattr(metric_sinks, "PATIENCE_SECONDS", 0.1)
    leave = threading.Event()

    class Fails(Writer):
        def flush(self):
            raise OSError("quota")

    class Waits(Writer):
        def flush(self):
            leave.wait()

    with BackgroundSinks([Fails(), Waits()]) as sinks:
        sinks.write(1, {"a": 1.0})
    first, second = capsys.readouterr().err.splitlines()
    leave.set()
    assert "took 1 record, and may have lost some of them (its flush failed: OSError: quota)" in first
    assert "took 1 record, and may have lost some of them (it did nothing for 0.1 s)" in second


def test_a_sink_that_would_end_the_process_is_told_as_any_other_error(capsys):
    def ends(metrics, step):
        raise SystemExit(f"no login at step {step}")

    with BackgroundSinks([ends]) as sinks:
        for step in range(5):
            sinks.write(step, {})
    told = capsys.readouterr().err
    assert "5 of 5 records did not reach the sink" in told
    assert "its first error: SystemExit: no login at step 0" in told
    assert "waited" not in told


def test_the_end_does_not_wait_for_ever_for_a_sink_that_is_slow_and_steady(monkeypatch, capsys):
    monkeypatch.setattr(metric_sinks, "END_SECONDS", 0.3)
    steps, leave = iter(range(100)), threading.Event()

    def slow(metrics, step):
        leave.wait(0.1)
        next(steps)

    with BackgroundSinks([slow]) as sinks:
        for step in range(100):
            sinks.write(step, {})
    assert next(steps) < 90
    told = capsys.readouterr().err
    assert "of 100 records did not reach the sink" in told
    assert "it was not done 0.3 s after the end" in told
    leave.set()


def test_a_sink_that_hangs_does_not_keep_the_process(tmp_path):
    code = (
        "import threading\nfrom mupwd.proxy import metric_sinks\nfrom mupwd.report import RunLog\n"
        "metric_sinks.PATIENCE_SECONDS = 0.1\n"
        "sink = lambda metrics, step: threading.Event().wait()\n"
        f"with RunLog({str(tmp_path / 'run')!r}, {{'width': 64}}, sinks=[sink]) as log:\n"
        "    for step in range(3):\n        log(step, {'a': 1.0})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stderr.count("notice:") == 1
    assert "3 of 3 records did not reach the sink" in done.stderr
    assert len(read_metrics(tmp_path / "run")) == 3
