"""Logs that are whole, torn, damaged, empty or hostile."""

import math

import numpy as np
import pytest

from mupwd.report.downsample import downsample
from mupwd.report.logs import geometric_mean, log_of, read_log


def written(tmp_path, content):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    return read_log(tmp_path)


def test_a_log_is_read_as_series_in_order_and_the_later_line_counts(tmp_path):
    log = written(
        tmp_path, b'{"step": 2, "time": 1, "a": 1}\n{"step": 1, "a": 5}\n{"step": 2, "a": 3, "b": 4}\n'
    )
    assert [one.tolist() for one in log.series["a"]] == [[1, 2], [5.0, 3.0]]
    assert [one.tolist() for one in log.series["b"]] == [[2], [4.0]]
    assert (log.left_out, log.torn, log.last_step) == (0, False, 2)


def test_a_torn_last_line_and_damaged_ones_are_left_out(tmp_path):
    content = (
        b'{"step": 1, "a": 1}\n\xff\xfe\x00\n[]\n7\n{"a": 1}\n{"step": "x", "a": 1}\n{"step": -1, "a": 2}\n'
    )
    log = written(tmp_path, content + b"[" * 100_000 + b'\n{"step": 9, "a": 1.0')
    assert (log.left_out, log.torn) == (7, True)
    assert log.series["a"][0].tolist() == [1]


def test_values_that_are_not_finite_are_kept_and_no_numbers_are_not(tmp_path):
    content = b'{"step": 1, "a": "nan", "b": "-inf", "c": "word", "d": null, "e": true, "f": {}}\n'
    log = written(tmp_path, content + b'{"step": 2, "a": ' + b"9" * 400 + b"}\n")
    assert set(log.series) == {"a", "b"}
    assert math.isnan(log.series["a"][1][0])
    assert log.series["a"][1][1] == math.inf
    assert log.series["b"][1][0] == -math.inf


@pytest.mark.parametrize("content", [None, b"", b'{"step": 1, "a'])
def test_nothing_is_an_empty_log(tmp_path, content):
    log = read_log(tmp_path) if content is None else written(tmp_path, content)
    assert (log.series, log.last_step) == ({}, None)


def test_what_a_trial_ended_with_is_a_log_of_one_step():
    log = log_of({"eval/loss": 2.0, "status": "finished", "spectral/a/sigma_1": 3.0}, 7)
    assert set(log.series) == {"eval/loss", "spectral/a/sigma_1"}
    assert log.last_step == 7


def test_the_mean_over_layers_takes_the_steps_that_all_have():
    one = np.array([1, 2, 3]), np.array([2.0, 2.0, 2.0])
    other = np.array([2, 3, 4]), np.array([8.0, 8.0, 8.0])
    steps, values = geometric_mean([one, other])
    assert steps.tolist() == [2, 3]
    assert values.tolist() == pytest.approx([4.0, 4.0])
    assert geometric_mean([one, (np.array([9]), np.array([1.0]))]) is None


def test_downsampling_keeps_the_lowest_and_highest_the_ends_and_what_is_not_finite():
    steps = np.arange(500_000)
    values = np.sin(steps / 1000.0)
    values[123_456], values[300_001], values[7], values[9] = 50.0, -50.0, math.nan, math.inf
    few, kept = downsample(steps, values, 1000)
    assert len(few) <= 1010
    assert {0, 7, 123_456, 300_001, 499_999} <= set(few.tolist())
    assert np.nanmin(kept) == -50.0
    np.testing.assert_array_equal(kept, values[few])
    assert np.all(np.diff(few) > 0)


def test_downsampling_leaves_short_and_wholly_broken_series_alone():
    for count in (0, 1, 10):
        steps, values = downsample(np.arange(count), np.ones(count), 10)
        assert len(steps) == len(values) == count
    steps, values = downsample(np.arange(100), np.full(100, math.nan), 10)
    assert 2 <= len(steps) <= 12
    assert np.isnan(values).all()
