"""Learning-rate schedules as shapes between 0 and 1, to be multiplied by a peak that may be traced."""

from __future__ import annotations

import jax
import numpy as np
import optax

from mupwd.proxy.config import TrainConfig


def elapsed_shape(config: TrainConfig) -> np.ndarray:
    """Returns the sum of `schedule_shape` over the first n steps, for n = 0 .. steps: float64 `[steps + 1]`.

    Args:
      config: as for `schedule_shape`.

    Example:
      >>> elapsed_shape(TrainConfig(steps=4, warmup=1, schedule="wsd", decay_fraction=0.0))
      array([0. , 0.5, 1.5, 2.5, 3.5])
    """
    # optax's schedules mix types, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        shape = jax.vmap(schedule_shape(config))(np.arange(config.steps, dtype=np.int32))
    return np.concatenate([[0.0], np.cumsum(np.asarray(shape, dtype=np.float64))])


def schedule_shape(config: TrainConfig) -> optax.Schedule:
    """Returns `step -> learning rate over its peak`.

    Step 0 of a warmup has `1 / (warmup + 1)` and not 0: a first step without an update would be wasted.

    Args:
      config: `schedule`, `steps`, `warmup`, `final_fraction` and `decay_fraction` are read.

    Example:
      >>> shape = schedule_shape(TrainConfig(steps=100, warmup=9, final_fraction=0.0))
      >>> [round(float(shape(step)), 2) for step in (0, 4, 9, 100)]
      [0.1, 0.5, 1.0, 0.0]

    Sources: cosine: Loshchilov and Hutter, arXiv 1608.03983; WSD: Hu et al., arXiv 2404.06395.
    """
    warmup = optax.linear_schedule(1 / (config.warmup + 1), 1.0, config.warmup)
    remaining = config.steps - config.warmup
    if config.schedule == "cosine":
        decay = optax.cosine_decay_schedule(1.0, remaining, alpha=config.final_fraction)
        return optax.join_schedules([warmup, decay], [config.warmup]) if config.warmup else decay
    decay_steps = max(1, round(config.decay_fraction * config.steps))
    decay = optax.linear_schedule(1.0, config.final_fraction, decay_steps)
    stable_and_decay = optax.join_schedules([optax.constant_schedule(1.0), decay], [remaining - decay_steps])
    return (
        optax.join_schedules([warmup, stable_and_decay], [config.warmup])
        if config.warmup
        else stable_and_decay
    )
