"""Measurements that are kept, and made again where they do not hold."""

import math

import pytest

from mupwd.sweep.calibration import FILE_NAME, Calibration
from mupwd.sweep.runner import Measurement
from mupwd.sweep.trial import Trial

HERE = {"device": {"kind": "cpu"}, "versions": {"jax": "1"}}
TRIAL = Trial(32, {"learning_rate": 0.1, "weight_decay": 0.1, "recipe": "sp"}, 0)


@pytest.fixture
def calibration(tmp_path):
    return Calibration(tmp_path, HERE, 2)


def test_what_was_measured_holds_for_trials_of_one_kind_on_one_kind_of_machine(tmp_path, calibration):
    calibration.put(TRIAL, 20, Measurement(4, 1.5))
    again = Calibration(tmp_path, HERE, 2)
    assert again.get(TRIAL, 20) == Measurement(4, 1.5)
    alike = Trial(32, {"learning_rate": 0.2, "weight_decay": 0.3, "recipe": "sp"}, 7)
    assert again.get(alike, 20) == Measurement(4, 1.5)
    for other in (
        again.get(Trial(64, TRIAL.hyperparameters, 0), 20),
        Calibration(tmp_path, HERE, 1).get(TRIAL, 20),
        Calibration(tmp_path, HERE | {"device": {"kind": "gpu"}}, 2).get(TRIAL, 20),
        Calibration(tmp_path, HERE | {"versions": {"jax": "2"}}, 2).get(TRIAL, 20),
    ):
        assert other is None


@pytest.mark.parametrize(
    ("tried", "size", "most", "holds"),
    [(16, 4, 16, True), (16, 4, 100, True), (16, 16, 100, False), (4, 4, 16, False), (16, 4, 3, False)],
)
def test_it_holds_for_as_many_trials_as_were_tried(calibration, tried, size, most, holds):
    calibration.put(TRIAL, tried, Measurement(size, 1.0))
    assert (calibration.get(TRIAL, most) is not None) == holds


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 3}'])
def test_a_damaged_file_is_written_anew(tmp_path, calibration, text):
    (tmp_path / FILE_NAME).write_text(text)
    assert calibration.get(TRIAL, 4) is None
    calibration.put(TRIAL, 4, Measurement(1, 2.0))
    assert calibration.get(TRIAL, 4) == Measurement(1, 2.0)


def test_what_is_unknown_is_not_kept(tmp_path, calibration):
    calibration.put(TRIAL, 4, Measurement(1, math.nan))
    assert not (tmp_path / FILE_NAME).exists()
