"""Runs, and groups of runs whose losses compare, as the report knows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mupwd.plan import Plan
from mupwd.report.logs import Log, as_number
from mupwd.report.setting import Setting
from mupwd.sweep.trial import LOSS
from mupwd.transfer import Observation, RecipeScore


@dataclass
class Run:
    """One training run or trial.

    Attributes:
      name: of its directory, or of its result.
      recipe: its name; empty where unknown.
      width: of the model; 0 where unknown.
      learning_rate: at the base; NaN where unknown.
      weight_decay: at the base; NaN where unknown.
      seed: of initial values and data.
      status: "finished", "diverged", "stopped" or "running": it has no result (yet).
      metrics: that it ended with; empty where it has not ended.
      hyperparameters: all that it was given.
      log: what it wrote on the way.
      plan: of its width; None where it has none.
      manifest: what it ran on; empty where unknown.
      seconds: that it took; NaN where unknown.
    """

    name: str
    recipe: str = ""
    width: int = 0
    learning_rate: float = math.nan
    weight_decay: float = math.nan
    seed: int = 0
    status: str = "running"
    metrics: dict[str, Any] = field(default_factory=dict)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    log: Log = field(default_factory=Log)
    plan: Plan | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    seconds: float = math.nan

    @property
    def base(self) -> int:
        """The width at which its learning rate and decay mean what they say; 0 where unknown."""
        known = self.plan.base if self.plan is not None else None
        given = self.hyperparameters.get("base") if known is None else known
        return given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else 0

    @property
    def pair(self) -> str:
        """What the page calls its learning rate and decay."""
        return pair_name(self.learning_rate, self.weight_decay)

    def observation(self) -> Observation | None:
        """Returns what a finished run says of its hyperparameters; None where it says nothing."""
        if self.status == "running" or not self.width or LOSS not in self.metrics:
            return None
        loss = as_number(self.metrics[LOSS])
        if loss is None or not math.isfinite(loss) or self.status == "stopped":
            loss = math.inf
        return Observation(
            self.recipe,
            self.width,
            self.learning_rate,
            self.weight_decay,
            self.seed,
            loss,
            self.status == "stopped",
        )


@dataclass
class Group:
    """Runs whose losses compare: one sweep, study or check, or the single runs of one model on one corpus.

    Attributes:
      name: of the directory; "runs" for single runs, with what they differ in where they form several groups.
      runs: by recipe, the narrowest first.
      checks: `{"coordinates", "steady" or "exponent": what the file holds}`.
      manifest: of the directory; empty where there is none.
      order: of the recipes, as they were declared; those that were not come last.
      notes: what was left out, and why.
      scores: the verdict; None: to be made from the runs.
      setting: how trials were run; None: not known.
    """

    name: str
    runs: list[Run] = field(default_factory=list)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scores: Mapping[str, RecipeScore] | None = None
    setting: Setting | None = None


def pair_name(learning_rate: float, weight_decay: float) -> str:
    """Returns the two as one word; an empty one where they are not known."""
    return "" if math.isnan(learning_rate) else f"{learning_rate!r},{weight_decay!r}"


def as_mapping(value: Any) -> dict[str, Any]:
    """Returns a JSON object as it is, and an empty one for everything else.

    Args:
      value: of any JSON type.

    Example:
      >>> as_mapping({"width": 32}), as_mapping(None), as_mapping([1])
      ({'width': 32}, {}, {})
    """
    return value if isinstance(value, dict) else {}
