"""mupwd: learning rates and weight decays that transfer across width, for JAX and optax."""

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
)
from mupwd.plan import Plan, PlanError
from mupwd.tracing import TraceError, trace_axes

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
    "spectrum",
    "trace_axes",
    "track_spectrum",
]
