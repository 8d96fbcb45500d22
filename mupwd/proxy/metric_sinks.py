"""Hands records to sinks, such as TensorBoard, in the background: a train loop never waits for one."""

from __future__ import annotations

import contextvars
import inspect
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

QUEUE_RECORDS = 1000
"""How many records may wait for one sink; more are lost to it."""
PATIENCE_SECONDS = 5.0
"""How long the end of a run waits for a sink that takes nothing."""
END_SECONDS = 60.0
"""How long the end of a run waits for all sinks together, however steadily they take records."""


class MetricWriter(Protocol):
    """What CLU calls a metric writer; one that also has `flush()` is flushed at the end of a run."""

    def write_scalars(self, step: int, scalars: Mapping[str, float], /) -> Any:
        """Takes one record."""
        ...


class LogFunction(Protocol):
    """Such as `wandb.log` and `trackio.log`, after their `init`, or the `track` of aim's `Run`."""

    def __call__(self, metrics: dict[str, float], /, *, step: int) -> Any:
        """Takes one record."""
        ...


Sink: TypeAlias = MetricWriter | LogFunction


class BackgroundSinks:
    """Gives every record to every sink; each has a thread and a bounded queue of its own.

    A sink that is slow, hangs or raises costs records of its own and nothing else. At the end those are counted, and
    told once, on stderr. Sinks are flushed, and not closed: they belong to whom they were made by.

    Args:
      sinks: objects with `write_scalars(step, metrics)`, or functions that are called as `log(metrics, step=step)`.

    Raises:
      ValueError: a sink is neither.

    Example:
      >>> seen = []
      >>> with BackgroundSinks([lambda metrics, step: seen.append((step, metrics))]) as sinks:
      ...     sinks.write(20, {"train/loss": 2.5})
      >>> seen
      [(20, {'train/loss': 2.5})]
    """

    def __init__(self, sinks: Iterable[Sink] = ()):
        deliveries = [(sink, _delivery(sink)) for sink in sinks]
        self._lanes = [_Lane(sink, deliver) for sink, deliver in deliveries]

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hands a record over, at once.

        Args:
          step: finished optimizer steps.
          metrics: name to number; not to be changed afterwards.
        """
        for lane in self._lanes:
            lane.write(step, metrics)

    def close(self) -> None:
        """Waits for sinks while they take records, a minute at most, flushes them, and tells what was lost."""
        for lane in self._lanes:
            lane.end()
        deadline = time.monotonic() + END_SECONDS
        for lane in self._lanes:
            lane.wait(deadline)
            if lane.trouble:
                print(f"notice: {lane.trouble}", file=sys.stderr)

    def __enter__(self) -> BackgroundSinks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Lane:
    """One sink, its thread and its queue."""

    def __init__(self, sink: Any, deliver: Callable[[int, dict[str, float]], Any]):
        self._sink, self._deliver = sink, deliver
        self._given = self._dropped = self._taken = self._tried = 0
        self._error: BaseException | None = None
        self._flush_error: BaseException | None = None
        self._gave_up: str | None = None
        self._queue: queue.SimpleQueue[tuple[int, Mapping[str, float]] | None] = queue.SimpleQueue()
        # trackio and others keep their run in a context variable, and a new thread would start without.
        context = contextvars.copy_context()
        # A daemon: a sink that hangs must not keep the process from its end.
        self._thread = threading.Thread(target=context.run, args=(self._work,), daemon=True)
        self._thread.start()

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        self._given += 1
        if self._queue.qsize() < QUEUE_RECORDS:
            self._queue.put((step, metrics))
        else:
            self._dropped += 1

    def end(self) -> None:
        """Says that no record follows."""
        self._queue.put(None)

    def wait(self, deadline: float) -> None:
        """Waits until the sink is done, does nothing for a while, or the time is up."""
        tried = None
        while self._thread.is_alive() and tried != self._tried:
            tried, left = self._tried, deadline - time.monotonic()
            self._thread.join(max(0.0, min(PATIENCE_SECONDS, left)))
            if left < PATIENCE_SECONDS and self._thread.is_alive():
                self._gave_up = f"it was not done {END_SECONDS:g} s after the end"
                return
        if self._thread.is_alive():
            self._gave_up = f"it did nothing for {PATIENCE_SECONDS:g} s"

    @property
    def trouble(self) -> str | None:
        """What was lost and why, after the end."""
        lost, name = self._given - self._taken, _name(self._sink)
        reasons = []
        if self._error is not None:
            reasons.append(f"its first error: {_words(self._error)}")
        if self._dropped:
            reasons.append(f"more than {QUEUE_RECORDS} waited for it")
        if self._gave_up is not None:
            reasons.append(self._gave_up)
        flush = None if self._flush_error is None else f"its flush failed: {_words(self._flush_error)}"
        rest = "; what else the run wrote is whole"
        if lost:
            told = "; ".join([*reasons, *([flush] if flush else [])])
            return f"{lost} of {self._given} records did not reach the sink {name} ({told}){rest}"
        if flush or self._gave_up:
            # What it took it may still hold in memory.
            count = f"{self._given} record{'s'[: self._given != 1]}"
            return f"the sink {name} took {count}, and may have lost some of them ({flush or self._gave_up}){rest}"
        return None

    def _work(self) -> None:
        while (record := self._queue.get()) is not None:
            step, metrics = record
            error = self._try(lambda: self._deliver(step, dict(metrics)))  # noqa: B023 - called at once
            self._error = self._error or error
            self._taken += error is None
        if (flush := getattr(self._sink, "flush", None)) is not None:
            self._flush_error = self._try(flush)

    def _try(self, action: Callable[[], Any]) -> BaseException | None:
        try:
            action()
        # Also SystemExit, which would end this thread without a word.
        except BaseException as error:
            return error
        finally:
            self._tried += 1
        return None


def _delivery(sink: Any) -> Callable[[int, dict[str, float]], Any]:
    """How a sink is given a record."""
    if callable(getattr(sink, "write_scalars", None)):
        return sink.write_scalars
    problem = f"{sink!r} is not callable"
    if callable(sink):
        try:
            inspect.signature(sink).bind({}, step=0)
        except TypeError as error:
            problem = f"{_name(sink)} does not take (metrics, step=step): {error}"
        except ValueError:
            return lambda step, metrics: sink(metrics, step=step)  # a builtin does not tell what it takes
        else:
            return lambda step, metrics: sink(metrics, step=step)
    raise ValueError(
        "a sink is an object with write_scalars(step, metrics), or a function that can be called as "
        f"log(metrics, step=step); {problem}. Wrap another one, as in: lambda metrics, step: log(metrics)"
    )


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _name(sink: Any) -> str:
    """Of a sink, for people."""
    return getattr(sink, "__qualname__", None) or repr(sink)
