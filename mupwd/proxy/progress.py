"""The progress bar of a run: loss, tokens per second, time left."""

from __future__ import annotations

import math
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class RunProgress:
    """A progress bar on stderr, and nothing at all where that is no terminal or where it is not wanted.

    Args:
      description: left of the bar.
      steps: of the whole run.
      done: steps that a resumed run starts from.
      shown: False: nothing. None: where stderr is a terminal.
    """

    def __init__(self, description: str, steps: int, done: int = 0, shown: bool | None = None):
        console = Console(stderr=True)
        shown = console.is_terminal if shown is None else shown
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metrics]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not shown,
        )
        self._task = self._progress.add_task(description, total=steps, completed=done, metrics="compiling")

    def update(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Moves the bar; tokens per second may be NaN while they are not known."""
        speed = "" if math.isnan(tokens_per_second) else f"{tokens_per_second:,.0f} tokens/s "
        self._progress.update(self._task, completed=step, metrics=f"loss {loss:.3f} {speed}left")

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
