"""What a report says of the runs besides their results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mupwd.proxy import family
from mupwd.proxy.manifest import read_manifest
from mupwd.sweep.proxy_study import proxy_configs
from mupwd.sweep.trial import Result


@dataclass(frozen=True)
class Setting:
    """How the trials were run.

    Args:
      command: that repeats it.
      model: in words.
      corpus: where the text came from.
      corpus_sha256: of its tokens; losses compare only where it is equal.
      steps: optimizer steps of every trial; of those at the target, where they grow with the width.
      tokens: in one step.
      seeds: that ran near the optima; the first one ran everywhere.
      decay: "coupled" (per unit of learning rate) or "independent" (per step at the peak learning rate).
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
    decay: str
    matrix: Mapping[str, tuple[float, float]]
    trials: int
    trial_seconds: float
    environment: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON types."""
        return dataclasses.asdict(self)


class Described(Protocol):
    """What a study or a sweep of the proxy says of itself."""

    @property
    def base(self) -> int | None: ...
    @property
    def target(self) -> int: ...
    @property
    def recipes(self) -> tuple[str, ...]: ...
    @property
    def seeds(self) -> tuple[int, ...]: ...
    def given(self, width: int) -> Mapping[str, Any]: ...


def study_setting(study: Described, results: Sequence[Result], directory: Path, command: str) -> Setting:
    """Describes how a study or a sweep of the proxy was run.

    Args:
      study: as it was run.
      results: of its trials.
      directory: that holds its manifest.
      command: that repeats it.

    Raises:
      FileNotFoundError: the directory has no manifest.
      ValueError: it is damaged.
    """
    manifest = read_manifest(directory)
    proxy, train = proxy_configs(study.given(study.target))
    assert study.base is not None
    llamas = family(proxy, base=study.base)
    form = "forward" if proxy.tied else "folded"
    matrix = {}
    for recipe in study.recipes:
        plan = llamas.plan(study.target, recipe=recipe, form=form)
        one = next(parameter for parameter in plan.values() if parameter.role == "matrix")
        matrix[recipe] = (one.lr, one.wd)
    return Setting(
        command=command,
        model=f"LLaMA proxy, {proxy.layers} layer{'s'[: proxy.layers != 1]}, head size {proxy.head_dim}",
        corpus=manifest["run"]["corpus"]["source"],
        corpus_sha256=manifest["run"]["corpus"]["sha256"],
        steps=train.steps,
        tokens=train.batch_size * train.sequence_length,
        seeds=study.seeds,
        decay=train.decay,
        matrix=matrix,
        trials=len(results),
        trial_seconds=sum(result.seconds for result in results),
        environment=manifest["environment"],
    )
