"""What a report says of the runs besides their results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """How the trials were run.

    Args:
      command: that repeats it.
      model: in words.
      corpus: where the text came from.
      corpus_sha256: of its tokens; losses compare only where it is equal.
      steps: optimizer steps of every trial.
      tokens: in one step.
      seeds: that ran near the optima; the first one ran everywhere.
      matrix: `{recipe: (factor on the learning rate, factor on the decay)}` of a matrix at the target.
      trials: how many.
      trial_seconds: that all trials took together.
      environment: versions, device and git revision.
    """

    command: str
    model: str
    corpus: str
    corpus_sha256: str
    steps: int
    tokens: int
    seeds: tuple[int, ...]
    matrix: Mapping[str, tuple[float, float]]
    trials: int
    trial_seconds: float
    environment: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON types."""
        return dataclasses.asdict(self)
