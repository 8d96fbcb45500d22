"""What the evidence runs, for two cores, for one GPU and for a cluster."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mupwd.sweep.declare import Sweep
from mupwd.sweep.grid import parse_values

BASE_RULE = "mupwd"  # whose trials serve every power of the matrices' decay: m^(1/2)
CONTROLS = ("sp", "sp_embedding")


@dataclass(frozen=True)
class Horizon:
    """How long trials are.

    Args:
      widths: the narrowest is the base; each is a power of two times it.
      steps: of every trial; None where `tokens_per_parameter` says it.
      tokens_per_parameter: of all parameters, embedding and readout among them; None: fixed steps.
    """

    widths: tuple[int, ...]
    steps: int | None = None
    tokens_per_parameter: float | None = None

    def __post_init__(self) -> None:
        for width in self.widths:
            if not math.log2(width / self.widths[0]).is_integer():
                raise ValueError(
                    f"width {width} is no power of two times {self.widths[0]}: on a grid of decays in steps of "
                    "sqrt(2) the rules meet only there"
                )


@dataclass(frozen=True)
class Preset:
    """A machine's worth of evidence.

    Args:
      name: of the preset.
      machine: that it is meant for, in words.
      horizons: by name.
      learning_rates, weight_decays: of the rules; at the base, coupled. Decays are sqrt(2) apart.
      strong_decay: one of them, at which decay decides where matrices end within these runs.
      exponent: learning rate and decay of `mupwd check --fit`, which runs as long as a steady state takes.
      control_rates, control_decays: of `sp` and `sp_embedding`, whose best values move further.
      seeds: near the optima; the first one runs everywhere.
      hyperparameters: what all trials have in common.
    """

    name: str
    machine: str
    horizons: Mapping[str, Horizon]
    learning_rates: str
    weight_decays: str
    strong_decay: float
    exponent: tuple[float, float]
    control_rates: str
    control_decays: str
    seeds: int = 3
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> int:
        """The width that is tuned."""
        return self.horizons["fixed"].widths[0]

    def on(self, corpus: str) -> Preset:
        """Returns the preset with another text."""
        return dataclasses.replace(self, hyperparameters={**self.hyperparameters, "corpus": corpus})

    def rules(self, horizon: str) -> Sweep:
        """Returns the grid under the rule that all powers of the matrices' decay share."""
        return self._sweep(horizon, self.learning_rates, self.weight_decays, (BASE_RULE,))

    def controls(self, horizon: str) -> Sweep:
        """Returns the grid of the standard parametrisation."""
        return self._sweep(horizon, self.control_rates, self.control_decays, CONTROLS)

    def _sweep(self, horizon: str, rates: str, decays: str, recipes: tuple[str, ...]) -> Sweep:
        long = self.horizons[horizon]
        return Sweep(
            widths=long.widths,
            learning_rates=parse_values("learning rates", rates),
            weight_decays=parse_values("weight decays", decays),
            recipes=recipes,
            seeds=tuple(range(self.seeds)),
            steps=long.steps,
            tokens_per_parameter=long.tokens_per_parameter,
            hyperparameters=dict(self.hyperparameters),
        )


_CPU = Preset(
    name="cpu",
    machine="two CPU cores, two to three hours",
    horizons={
        "fixed": Horizon((32, 64, 128, 256), steps=1000),
        # 300 steps at width 32; the tokens of width 256 would take a day.
        "growing": Horizon((32, 64, 128), tokens_per_parameter=3.75),
    },
    learning_rates="2^-8:2^-4",
    weight_decays="2^-5:2^0:1.4142135623730951",
    strong_decay=2.0**-1.5,
    exponent=(2.0**-7, 1.0),
    control_rates="2^-10:2^-4",
    control_decays="2^-6:2^0",
    hyperparameters={"batch_size": 16, "sequence_length": 32, "observe_every": 50},
)

PRESETS = {
    one.name: one
    for one in (
        _CPU,
        dataclasses.replace(
            _CPU,
            name="gpu",
            machine="one modern GPU, under half an hour",
            horizons={
                "fixed": Horizon((128, 256, 512, 1024), steps=1000),
                "growing": Horizon((128, 256, 512), tokens_per_parameter=2.0),
            },
            learning_rates="2^-10:2^-6",
            exponent=(2.0**-9, 1.0),
            control_rates="2^-12:2^-6",
            hyperparameters={
                "batch_size": 32,
                "sequence_length": 128,
                "head_dim": 64,
                "observe_every": 50,
                "dtype": "bfloat16",
            },
        ),
        dataclasses.replace(
            _CPU,
            name="cluster",
            machine="a cluster, days",
            horizons={
                "fixed": Horizon((256, 512, 1024, 2048, 4096), steps=10_000),
                "growing": Horizon((256, 512, 1024, 2048), tokens_per_parameter=20.0),
            },
            learning_rates="2^-11:2^-6",
            exponent=(2.0**-10, 1.0),
            control_rates="2^-13:2^-6",
            hyperparameters={
                "corpus": "hf:HuggingFaceFW/fineweb-edu:sample-100BT",
                "tokenizer": "bpe",
                "vocab_size": 32_768,
                "layers": 12,
                "head_dim": 64,
                "batch_size": 256,
                "sequence_length": 1024,
                "observe_every": 500,
                "dtype": "bfloat16",
                "sharding": "full",
            },
        ),
    )
}
