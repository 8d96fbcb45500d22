"""Loss against one hyperparameter, one curve per width: the data of the pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mupwd.report.words import value_words
from mupwd.transfer import Curve, RecipeScore

Axis = Literal["learning_rate", "weight_decay"]
AXES: tuple[Axis, Axis] = ("learning_rate", "weight_decay")
_HEADROOM = 0.45


def axis_names(decay: str) -> dict[Axis, str]:
    """Returns what the axes are called.

    Args:
      decay: "coupled" or "independent".
    """
    return {"learning_rate": "learning rate", "weight_decay": f"weight decay ({decay})"}


@dataclass(frozen=True)
class Line:
    """One curve of a panel.

    Attributes:
      width: of the model.
      held: the other hyperparameter, in words.
      x: log2 of the values.
      y: mean losses; None where a trial diverged or was stopped early.
      seeds: trials behind each mean.
      optimum: (log2 of the best value, low end, high end, loss there); None where there is no fitted minimum.
    """

    width: int
    held: str
    x: list[float]
    y: list[float | None]
    seeds: list[int]
    optimum: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Panel:
    """All widths of one recipe over one hyperparameter.

    Attributes:
      recipe: its name.
      axis: which hyperparameter.
      tuned: log2 of the value that was tuned; None of a decay of 0.
      lines: narrowest width first.
    """

    recipe: str
    axis: Axis
    tuned: float | None
    lines: list[Line]


def panels(scores: Mapping[str, RecipeScore]) -> list[Panel]:
    """Returns two panels per recipe: over the learning rate and over the decay."""
    return [
        Panel(
            score.recipe,
            axis,
            _log2(score.tuned[0 if axis == "learning_rate" else 1]),
            [_line(width, axis, getattr(one, axis)) for width, one in score.widths.items()],
        )
        for score in scores.values()
        for axis in AXES
    ]


def loss_range(scores: Mapping[str, RecipeScore]) -> tuple[float, float]:
    """Returns the losses that all panels show, so that they compare: from the best to a little above the worst that a
    tuned pair has at the target.

    Curves go on above, out of sight.
    """
    means = [
        [mean for axis in AXES for mean in getattr(one, axis).means.values() if math.isfinite(mean)]
        for score in scores.values()
        for one in score.widths.values()
    ]
    transferred = [
        loss for score in scores.values() for loss in score.transferred.values() if math.isfinite(loss)
    ]
    best = [min(some) for some in means if some]
    lowest, highest = min(best), max([*best, *transferred])
    span = max(highest - lowest, 0.05)
    return lowest - 0.06 * span, highest + _HEADROOM * span


def _line(width: int, axis: Axis, curve: Curve) -> Line:
    other = "decay" if axis == "learning_rate" else "learning rate"
    means = curve.means
    optimum = curve.optimum
    fitted = None
    if optimum is not None and optimum.interval is not None and optimum.edge is None:
        fitted = (optimum.log2, *optimum.interval, min(means.values()))
    return Line(
        width,
        f"{other} {value_words(curve.held)}",
        [math.log2(value) for value in means],
        [mean if math.isfinite(mean) else None for mean in means.values()],
        [len(curve.losses[value]) for value in means],
        fitted,
    )


def _log2(value: float) -> float | None:
    return math.log2(value) if value > 0 else None
