"""The proxy: a small LLaMA-style model, text data and a train loop, for examples, studies and sweeps.

Names are imported when they are first used, so that reading a metrics log needs no flax.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Not lazy: it needs no extra, and its module has the function's name.
from mupwd.proxy.corpus import corpus

if TYPE_CHECKING:
    from mupwd.proxy.config import ProxyConfig, TrainConfig
    from mupwd.proxy.model import Llama
    from mupwd.proxy.model_family import family
    from mupwd.proxy.program import Hyper, Program, TrainState
    from mupwd.proxy.trainer import Trainer
    from mupwd.proxy.trial import train

_MODULES = {
    "Hyper": "program",
    "Llama": "model",
    "Program": "program",
    "ProxyConfig": "config",
    "TrainConfig": "config",
    "TrainState": "program",
    "Trainer": "trainer",
    "family": "model_family",
    "train": "trial",
}

__all__ = [
    "Hyper",
    "Llama",
    "Program",
    "ProxyConfig",
    "TrainConfig",
    "TrainState",
    "Trainer",
    "corpus",
    "family",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("flax", "matplotlib", "orbax", "rich"):
            raise
        raise ModuleNotFoundError(
            f"mupwd.proxy.{name} needs {error.name}, which is not installed: pip install 'mupwd[proxy]'",
            name=error.name,
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
