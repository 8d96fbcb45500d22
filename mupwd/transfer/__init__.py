"""Does a tuned pair transfer? Optima per width, their drift and the regret, and the steady state, with intervals."""

from __future__ import annotations

from mupwd.transfer.curve import Curve
from mupwd.transfer.drift import Drift, drift, grid_drift
from mupwd.transfer.exponent import ExponentFit, fit_exponent
from mupwd.transfer.extend import extensions
from mupwd.transfer.gain import TuningGain, tuning_gain
from mupwd.transfer.joint import JointOptimum, fit_joint_optimum
from mupwd.transfer.law import TransferLaw, transfer_law
from mupwd.transfer.limits import infinite_width
from mupwd.transfer.observations import Estimate, Observation
from mupwd.transfer.optimum import Optimum, fit_optimum
from mupwd.transfer.scorecard import RecipeScore, WidthScore, recipe_gain, scorecard
from mupwd.transfer.scorecard_json import as_json
from mupwd.transfer.sensitivity import learning_rate_sensitivity
from mupwd.transfer.steady import SteadyCheck, steady_state_check

__all__ = [
    "Curve",
    "Drift",
    "Estimate",
    "ExponentFit",
    "JointOptimum",
    "Observation",
    "Optimum",
    "RecipeScore",
    "SteadyCheck",
    "TransferLaw",
    "TuningGain",
    "WidthScore",
    "as_json",
    "drift",
    "extensions",
    "fit_exponent",
    "fit_joint_optimum",
    "fit_optimum",
    "grid_drift",
    "infinite_width",
    "learning_rate_sensitivity",
    "recipe_gain",
    "scorecard",
    "steady_state_check",
    "transfer_law",
    "tuning_gain",
]
