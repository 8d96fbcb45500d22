"""The trials of the standard parametrisation, with which the rules are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mupwd.sweep.declare import Sweep
from mupwd.sweep.study import Study


@dataclass(frozen=True)
class ControlsStudy(Study):
    """A full grid at the base, a cross through the optimum at the other widths; steps may depend on the width.

    Args:
      per_width: what all trials of a width are given.
    """

    per_width: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def given(self, width: int) -> dict[str, Any]:
        """Returns what all trials of a width are given."""
        return dict(self.per_width[width])


def controls_study(sweep: Sweep) -> ControlsStudy:
    """Returns the study of a grid's values.

    Args:
      sweep: the grid, of which the wider widths run a cross only.
    """
    return ControlsStudy(
        widths=sweep.widths,
        recipes=sweep.recipes,
        learning_rates=tuple(sorted(sweep.learning_rates)),
        weight_decays=tuple(sorted(sweep.weight_decays)),
        seeds=sweep.seeds,
        per_width={width: sweep.given(width) for width in sweep.widths},
    )
