"""mupwd: learning rates and weight decays that transfer across width, for JAX and optax."""

from typing import TYPE_CHECKING, Any

from mupwd.diagnostics.coordinate import coordinate_check
from mupwd.diagnostics.instrument import instrument
from mupwd.diagnostics.spectrum import spectrum
from mupwd.diagnostics.tracker import track_spectrum
from mupwd.family import Family, family, family_from_shapes
from mupwd.forward import apply_forward
from mupwd.optim import (
    adamw,
    add_plan_decayed_weights,
    clip_by_global_norm,
    scale_by_plan_learning_rate,
    wrap,
)
from mupwd.plan import Plan, PlanError
from mupwd.tracing import TraceError, trace_axes

if TYPE_CHECKING:
    from mupwd.transfer import scorecard

__all__ = [
    "Family",
    "Plan",
    "PlanError",
    "TraceError",
    "adamw",
    "add_plan_decayed_weights",
    "apply_forward",
    "clip_by_global_norm",
    "coordinate_check",
    "family",
    "family_from_shapes",
    "instrument",
    "scale_by_plan_learning_rate",
    "scorecard",
    "spectrum",
    "trace_axes",
    "track_spectrum",
    "wrap",
]


def __getattr__(name: str) -> Any:
    # Its statistics take longer to import than all the rest.
    if name == "scorecard":
        from mupwd.transfer import scorecard

        return scorecard
    raise AttributeError(f"module 'mupwd' has no attribute {name!r}")
