"""`mupwd.adamw` in every framework, inside everything that wraps an optax transform."""

import functools
from pathlib import Path

import pytest
from helpers import battery, reference, toys

from mupwd.optim import adamw

ADAMW = battery.Subject(
    factory=adamw, arguments={"learning_rate": 1e-2, "weight_decay": 0.3}, reference=reference.AdamW
)


@functools.cache
def toy(framework: str) -> toys.Toy:
    return toys.FRAMEWORKS[framework]()


@pytest.mark.parametrize("check", battery.CHECKS)
@pytest.mark.parametrize("framework", toys.FRAMEWORKS)
def test_battery(framework: str, check: str, tmp_path: Path):
    battery.CHECKS[check](toy(framework), ADAMW, tmp_path)
