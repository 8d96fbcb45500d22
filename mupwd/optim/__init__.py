"""Optimizers and transforms that follow a plan."""

from mupwd.optim.adamw import adamw, scale_by_plan_adam
from mupwd.optim.clipping import clip_by_global_norm
from mupwd.optim.gradients import scale_by_plan_gradient
from mupwd.optim.scaling import add_plan_decayed_weights, scale_by_plan_learning_rate
from mupwd.optim.wrap import wrap

__all__ = [
    "adamw",
    "add_plan_decayed_weights",
    "clip_by_global_norm",
    "scale_by_plan_adam",
    "scale_by_plan_gradient",
    "scale_by_plan_learning_rate",
    "wrap",
]
