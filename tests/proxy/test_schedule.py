import math

import pytest

from mupwd.proxy.config import TrainConfig
from mupwd.proxy.schedule import schedule_shape


def values(config, steps):
    shape = schedule_shape(config)
    return [float(shape(step)) for step in steps]


def test_cosine_rises_linearly_and_falls_by_half_a_cosine():
    config = TrainConfig(steps=110, warmup=10, final_fraction=0.1)
    expected = [
        1 / 11,
        1 / 11 + 5 / 10 * 10 / 11,
        1.0,
        0.1 + 0.9 * (1 + math.cos(math.pi * 0.25)) / 2,
        0.55,
        0.1,
    ]
    assert values(config, (0, 5, 10, 35, 60, 110)) == pytest.approx(expected, rel=1e-5)


def test_wsd_is_flat_and_then_falls_linearly():
    config = TrainConfig(steps=100, schedule="wsd", warmup=10, decay_fraction=0.2, final_fraction=0.0)
    assert values(config, (10, 40, 80, 90, 95, 100)) == pytest.approx([1, 1, 1, 0.5, 0.25, 0], abs=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_without_warmup_the_first_step_has_the_peak(schedule):
    assert values(TrainConfig(steps=50, warmup=0, schedule=schedule), (0,)) == [1.0]
