"""Ctrl-C and other friendly signals that are not lost."""

from __future__ import annotations

import gc
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

FRIENDLY = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name))
"""The signals after which there is time to give up claims."""

_SOON = 0.01  # seconds


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler of signals: raises KeyboardInterrupt, a moment later where it would be dropped now.

    JAX has the garbage collector call a function, and what is raised in there is printed and forgotten: one Ctrl-C
    in ten would not be heard.
    """
    callbacks = {getattr(one, "__code__", None) for one in gc.callbacks}
    while frame is not None:
        if frame.f_code in callbacks:
            # By the system, which wakes the main thread wherever it waits.
            threading.Timer(_SOON, os.kill, [os.getpid(), number]).start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


class Interrupts:
    """Turns Ctrl-C, and what schedulers send before they kill, into KeyboardInterrupt; a context manager.

    Python raises it wherever the main thread is. Where that is a finalizer, or a callback from C++, it is dropped, and
    the sweep would run on: so it is remembered as well.

    SIGTERM comes from `kill`, and from SLURM where a job is cancelled, preempted or out of time. SIGUSR2 is what
    submitit has SLURM send a while before the time is up.
    """

    def __init__(self) -> None:
        self._pressed = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        # Elsewhere than in the main thread nobody may handle signals, and none arrive.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in FRIENDLY}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def check(self) -> None:
        """Raises KeyboardInterrupt if there was a signal."""
        if self._pressed:
            raise KeyboardInterrupt

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._pressed = True
        interrupt(number, frame)
