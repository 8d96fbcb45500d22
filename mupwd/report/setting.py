"""What a report says of the runs besides their results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mupwd.plan import Plan
from mupwd.proxy import family
from mupwd.proxy.manifest import read_manifest
from mupwd.proxy.trial import RATIOS
from mupwd.sweep.proxy_study import proxy_configs
from mupwd.sweep.trial import Result

Factors = tuple[float, float]
"""On the learning rate and on the coupled weight decay, relative to the base."""


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
      matrix: `{recipe: factors of a matrix at the target}`, as far as they are known.
      trials: how many.
      trial_seconds: that all trials took together.
      environment: versions, device and git revision.
      base: the width at which learning rates and decays mean what they say; None: the narrowest.
      tuned_matrix: as `matrix`, at the narrowest width; empty where that is the base.
      ratios: `{name: target / base}` of what else than width differs, by the names of `mupwd plan`: "depth_ratio".
      notices: `{recipe: in what else than width the target differs from the base, without a rule for it}`.
    """

    command: str
    model: str
    corpus: str
    corpus_sha256: str
    steps: int
    tokens: int
    seeds: tuple[int, ...]
    decay: str
    matrix: Mapping[str, Factors]
    trials: int
    trial_seconds: float
    environment: Mapping[str, Any]
    base: int | None = None
    tuned_matrix: Mapping[str, Factors] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    notices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def factors(self, recipe: str) -> tuple[Factors | None, Factors | None]:
        """Returns those of a matrix at the width that was tuned and at the target; None where unknown."""
        target = self.matrix.get(recipe)
        return self.tuned_matrix.get(recipe, None if target is None else (1.0, 1.0)), target

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

    def plan(recipe: str, choose: Callable[[Iterable[int]], int]) -> Plan:
        # Of the widths that ran: a sweep that was given up, or that halves, may lack some.
        width = choose(one.trial.width for one in results if one.trial.hyperparameters["recipe"] == recipe)
        return llamas.plan(width, recipe=recipe, form=proxy.form, **ratios_of(study.given(width)))

    def factors(plan: Plan) -> Factors:
        one = next(parameter for parameter in plan.values() if parameter.role == "matrix")
        return one.lr, one.wd

    ran = [
        recipe
        for recipe in study.recipes
        if any(one.trial.hyperparameters["recipe"] == recipe for one in results)
    ]
    at_target = {recipe: plan(recipe, max) for recipe in ran}
    ran_at = {one.trial.width for one in results}
    narrowest, widest = min(ran_at), max(ran_at)
    return Setting(
        command=command,
        model=f"LLaMA proxy, {proxy.layers} layer{'s'[: proxy.layers != 1]}, head size {proxy.head_dim}",
        corpus=manifest["run"]["corpus"]["source"],
        corpus_sha256=manifest["run"]["corpus"]["sha256"],
        steps=train.steps,
        tokens=train.batch_size * train.sequence_length,
        seeds=study.seeds,
        decay=train.decay,
        matrix={recipe: factors(one) for recipe, one in at_target.items()},
        trials=len(results),
        trial_seconds=sum(result.seconds for result in results),
        environment=manifest["environment"],
        base=study.base,
        tuned_matrix={}
        if narrowest == study.base
        else {recipe: factors(plan(recipe, min)) for recipe in ran},
        ratios=ratios_of(study.given(widest)),
        notices={recipe: one.notices for recipe, one in at_target.items() if one.notices},
    )


def ratios_of(hyperparameters: Mapping[str, Any]) -> dict[str, float]:
    """Returns what else than the width differs from the base, of what a trial was given.

    Args:
      hyperparameters: of the trial.
    """
    return {name: value for name in RATIOS if (value := hyperparameters.get(name, 1.0)) != 1.0}
