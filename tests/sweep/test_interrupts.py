"""Signals that come where Python would drop what their handlers raise."""

import gc
import signal
import time

import pytest

from mupwd.sweep.interrupts import FRIENDLY, Interrupts, interrupt


@pytest.fixture
def collected():
    """Sends signals from a function that the garbage collector calls, as it calls one of JAX."""
    numbers = []

    def callback(phase, info):
        if numbers and phase == "stop":
            signal.raise_signal(numbers.pop())

    gc.callbacks.append(callback)

    def collect(number):
        numbers.append(number)
        gc.collect()
        time.sleep(60)

    yield collect
    gc.callbacks.remove(callback)


def test_one_that_comes_while_garbage_is_collected_is_heard(collected):
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            collected(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", FRIENDLY)
def test_a_sweep_hears_it_too(collected, number):
    handlers = [signal.getsignal(one) for one in FRIENDLY]
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        collected(number)
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()
    assert [signal.getsignal(one) for one in FRIENDLY] == handlers
