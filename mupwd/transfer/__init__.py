"""Does a tuned pair transfer? Optima per width, their drift, and the regret, with intervals."""

from __future__ import annotations

from mupwd.transfer.drift import Drift, drift, grid_drift
from mupwd.transfer.observations import Estimate, Observation
from mupwd.transfer.optimum import Optimum, fit_optimum
from mupwd.transfer.scorecard import Curve, RecipeScore, WidthScore, as_json, recipe_gain, scorecard

__all__ = [
    "Curve",
    "Drift",
    "Estimate",
    "Observation",
    "Optimum",
    "RecipeScore",
    "WidthScore",
    "as_json",
    "drift",
    "fit_optimum",
    "grid_drift",
    "recipe_gain",
    "scorecard",
]
