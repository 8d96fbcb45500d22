"""Loss against one hyperparameter with the other one held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mupwd.transfer.observations import Pair
from mupwd.transfer.optimum import Optimum, fit_optimum, offset_means


@dataclass(frozen=True)
class Curve:
    """Loss against one hyperparameter at one width, the other one held.

    Attributes:
      held: value of the other hyperparameter.
      losses: `{value: {seed: loss}}`; infinite where the trial diverged or was stopped early.

    Example:
      >>> curve = Curve(held=0.1, losses={2.0**k: {0: (k + 6) ** 2, 1: (k + 6) ** 2 + 1} for k in range(-8, -3)})
      >>> curve.best, curve.optimum.log2, curve.means[2**-7]
      (0.015625, -6.0, 1.5)
    """

    held: float
    losses: dict[float, dict[int, float]]

    @cached_property
    def optimum(self) -> Optimum | None:
        """The minimum of the curve; None where there are fewer than three values."""
        return fit_optimum(self.losses) if len(self.losses) >= 3 else None

    @property
    def best(self) -> float:
        """The value with the lowest mean loss."""
        means = self.means
        return min(means, key=means.__getitem__)

    @cached_property
    def means(self) -> dict[float, float]:
        """Mean loss per value, with what each seed adds to every value taken out."""
        values = sorted(self.losses)
        return dict(zip(values, map(float, offset_means(self.losses, values)), strict=True))


def learning_rate_curve(table: Mapping[Pair, dict[int, float]], weight_decay: float) -> Curve:
    """Returns the trials at one weight decay, as loss against learning rate."""
    return Curve(weight_decay, {pair[0]: seeds for pair, seeds in table.items() if pair[1] == weight_decay})


def weight_decay_curve(table: Mapping[Pair, dict[int, float]], learning_rate: float) -> Curve:
    """Returns the trials at one learning rate, as loss against weight decay; a decay of 0 has no logarithm."""
    return Curve(
        learning_rate,
        {pair[1]: seeds for pair, seeds in table.items() if pair[0] == learning_rate and pair[1] > 0},
    )
