"""The proxy as a family of widths."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from mupwd.family import Family
from mupwd.family import family as make_family
from mupwd.proxy.config import ProxyConfig
from mupwd.proxy.model import Llama


def family(config: ProxyConfig | None = None, base: int = 32, delta: int | None = None) -> Family:
    """Returns the proxy as a `mupwd.Family`: roles traced, ready for plans.

    Args:
      config: everything but the width.
      base: the width that is tuned.
      delta: the second width that is traced; twice the base by default.

    Raises:
      ValueError: a width does not fit the heads.

    Example:
      >>> family(ProxyConfig(), base=32).plan(128)["readout/kernel"].role
      'output'
    """
    config = config or ProxyConfig()

    def build(width: int, seed: int) -> Llama:
        return Llama(width, config, nnx.Rngs(seed))

    tokens = jax.ShapeDtypeStruct((2, 8), jnp.int32)
    return make_family(build, base=base, delta=delta, inputs=(tokens,))
