import math

import pytest

from mupwd.proxy.metrics_log import FILE_NAME, MetricsLog, latest, read_metrics, series


def write(path, *records):
    with MetricsLog(path) as log:
        for step, metrics in records:
            log.write(step, metrics, time=float(step))


def test_round_trip_keeps_every_bit_and_what_is_not_finite(tmp_path):
    path = tmp_path / FILE_NAME
    write(path, (1, {"train/loss": 0.1 + 0.2, "a": math.inf}), (2, {"train/loss": math.nan, "a": -math.inf}))
    first, second = read_metrics(tmp_path)
    assert first == {"step": 1, "time": 1.0, "train/loss": 0.1 + 0.2, "a": math.inf}
    assert second["step"] == 2
    assert math.isnan(second["train/loss"])
    assert second["a"] == -math.inf
    assert '"nan"' in path.read_text()
    assert "NaN" not in path.read_text()


def test_a_torn_last_line_is_left_out_and_dropped_on_resume(tmp_path):
    path = tmp_path / FILE_NAME
    write(path, (1, {"a": 1.0}), (2, {"a": 2.0}), (3, {"a": 3.0}))
    path.write_bytes(path.read_bytes()[:-5])
    assert [record["step"] for record in read_metrics(path)] == [1, 2]
    with MetricsLog(path, keep_until=2) as log:
        log.write(3, {"a": 4.0}, time=0.0)
    assert series(read_metrics(path), "a") == ([1, 2, 3], [1.0, 2.0, 4.0])


def test_a_resumed_log_drops_records_after_the_checkpoint(tmp_path):
    path = tmp_path / FILE_NAME
    write(path, *((step, {"a": float(step)}) for step in range(1, 6)))
    with MetricsLog(path, keep_until=3) as log:
        log.write(4, {"a": 40.0})
    assert series(read_metrics(path), "a") == ([1, 2, 3, 4], [1.0, 2.0, 3.0, 40.0])


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / FILE_NAME
    write(path, (1, {"a": 1.0}))
    path.write_text(path.read_text() + "garbage\n" + '{"step": 2, "time": 0}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2: not a record"):
        read_metrics(path)
    path.write_text('{"time": 0, "a": 1}\n')
    with pytest.raises(ValueError, match=r":1: not a record of a metrics log \('step'\)"):
        read_metrics(path)
    path.write_text('{"step": 1, "a": "high"}\n')
    with pytest.raises(ValueError, match="'high' is not a number"):
        read_metrics(path)


def test_missing_log(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no metrics log at .*metrics\.jsonl: give the directory"):
        read_metrics(tmp_path)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"step": 1.0}, "cannot be named 'step'"),
        ({"": 1.0}, "cannot be named ''"),
        ({"train/": 1.0}, "cannot be named 'train/'"),
        ({"a": "1"}, "'a' must be a Python number, got '1'"),
        ({"a": True}, "'a' must be a Python number, got True"),
    ],
)
def test_bad_metrics_are_refused(tmp_path, metrics, message):
    with MetricsLog(tmp_path / FILE_NAME) as log, pytest.raises(ValueError, match=message):
        log.write(1, metrics)


def test_series_and_latest():
    records = [
        {"step": 2, "time": 0.0, "a": 1.0},
        {"step": 1, "time": 0.0, "a": 5.0, "b": 7.0},
        {"step": 2, "time": 0.0, "a": 2.0},
    ]
    assert series(records, "a") == ([1, 2], [5.0, 2.0])
    assert series(records, "c") == ([], [])
    assert latest(records) == {"a": 2.0, "b": 7.0}


def test_an_empty_log_has_no_records(tmp_path):
    path = tmp_path / FILE_NAME
    path.touch()
    assert read_metrics(path) == []
    path.write_text('{"step": 1, "a"')
    assert read_metrics(path) == []


def test_python_s_own_words_for_what_is_not_finite_are_read(tmp_path):
    path = tmp_path / FILE_NAME
    path.write_text('{"step": 1, "a": NaN, "b": Infinity, "c": -Infinity}\n')
    (record,) = read_metrics(path)
    assert math.isnan(record["a"])
    assert (record["b"], record["c"]) == (math.inf, -math.inf)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\0" * 100,
        b"\xff\xfe\xfa",
        b"[" * 100_000,
        b"null",
        b'"text"',
        b'{"step": 2.5}',
        b'{"step": 2, "a": 1' + b"0" * 400 + b"}",
        b'{"step": 2, "a": 1' + b"0" * 5000 + b"}",
        b'{"step": 2, "a": null}',
        b'{"step": 2, "a": [1]}',
        b'{"step": 2, "a": 1}{"step": 3, "a": 1}',
    ],
)
def test_whatever_is_no_record_is_named_with_its_line(tmp_path, line):
    path = tmp_path / FILE_NAME
    path.write_bytes(b'{"step": 1, "a": 1}\n' + line + b'\n{"step": 3, "a": 3}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2: not a record of a metrics log") as raised:
        read_metrics(path)
    assert len(str(raised.value)) < 1000
