"""How many steps a trial of the proxy takes, where its tokens follow its parameters."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

from mupwd.proxy.config import ProxyConfig, TrainConfig, configured
from mupwd.proxy.model_family import family


def steps_for(width: int, base: int, tokens_per_parameter: float, hyperparameters: Mapping[str, Any]) -> int:
    """Returns the steps in which the proxy of a width sees so many tokens for each of its parameters.

    Args:
      width: of the model.
      base: of its family.
      tokens_per_parameter: tokens over the number of all parameters, embedding and readout among them.
      hyperparameters: of the trials: the proxy's fields, `batch_size` and `sequence_length`.

    Example:
      >>> small = {"layers": 1, "batch_size": 4, "sequence_length": 16}
      >>> [steps_for(width, 32, 20.0, small) for width in (32, 64)]
      [9310, 26940]
    """
    config = configured(ProxyConfig, hyperparameters)
    tokens = 1
    for name in ("batch_size", "sequence_length"):
        size = hyperparameters.get(name, getattr(TrainConfig, name))
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} must be a positive integer, got {size!r}")
        tokens *= size
    steps = tokens_per_parameter * _parameters(config, base, width) / tokens
    if not math.isfinite(steps):
        raise ValueError(f"tokens_per_parameter={tokens_per_parameter:g} is too large")
    return math.ceil(steps)


@functools.lru_cache(maxsize=64)
def _parameters(config: ProxyConfig, base: int, width: int) -> int:
    plan = family(config, base).plan(width, form="forward")
    return sum(math.prod(one.shape) for one in plan.values())
