"""Does a tuned pair transfer? Optima per width, their drift and the regret, and the steady state, with intervals."""

from __future__ import annotations

from mupwd.transfer.drift import Drift, drift, grid_drift
from mupwd.transfer.exponent import ExponentFit, fit_exponent
from mupwd.transfer.observations import Estimate, Observation
from mupwd.transfer.optimum import Optimum, fit_optimum
from mupwd.transfer.scorecard import Curve, RecipeScore, WidthScore, as_json, recipe_gain, scorecard
from mupwd.transfer.steady import SteadyCheck, steady_state_check

__all__ = [
    "Curve",
    "Drift",
    "Estimate",
    "ExponentFit",
    "Observation",
    "Optimum",
    "RecipeScore",
    "SteadyCheck",
    "WidthScore",
    "as_json",
    "drift",
    "fit_exponent",
    "fit_optimum",
    "grid_drift",
    "recipe_gain",
    "scorecard",
    "steady_state_check",
]
