"""Successive halving: every pair runs for some steps, the best ones for more, the best of those to the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mupwd.sweep.search import Losses, Screened, Search, Table

_WARMUPS = 2  # that the shortest run lasts: by then half of it had the full learning rate
_SHORTEST = 0.1  # of all steps


def rungs(given: Mapping[str, Any], factor: int) -> list[int]:
    """Returns the steps at which trials are stopped and compared, ascending; the end of their schedule is not one.

    Args:
      given: what trials are given: `steps` and, where there is one, `warmup`.
      factor: between one and the next.

    Raises:
      ValueError: not even one is long enough.

    Example:
      >>> rungs({"steps": 900, "warmup": 0}, 3), rungs({"steps": 900, "warmup": 90}, 3)
      ([100, 300], [300])
    """
    steps, warmup = given["steps"], given.get("warmup", 0)
    # Of another type it is refused elsewhere.
    warmup = warmup if isinstance(warmup, int | float) else 0
    shortest = max(_WARMUPS * warmup, _SHORTEST * steps, 1)
    found: list[int] = []
    while (stop := round(steps / factor ** (len(found) + 1))) >= shortest and stop < steps:
        found.append(stop)
    if not found:
        raise ValueError(
            f"halving: {steps} steps by {factor} are fewer than {math.ceil(shortest)}, the least that trials are "
            f"compared at (twice the warmup of {warmup} steps, and a tenth of all); give a smaller factor or a shorter "
            "warmup"
        )
    return found[::-1]


@dataclass(frozen=True)
class HalvingStudy(Search):
    """A grid of which the worse part is stopped early.

    At each width all pairs run to the first rung with the first seed; the best `1 / factor` of them and the
    neighbours of the best one go on to the next, and from the last one to the end, with all seeds. A rung is the same
    run, stopped: same schedule, same data. It starts anew on each rung, so that a trial stays a function of its
    configuration; that costs at most `1 / (factor - 1)` of those that end, and takes no checkpoints.

    One seed screens: equal seeds share initial values and data, so that what a seed adds is common to all pairs.

    Args:
      factor: of the steps from rung to rung, and of the pairs that are stopped there.
    """

    factor: int = 3

    def screen(self, recipe: str, width: int, losses: Losses) -> Screened:
        """Returns the trials of the rungs so far, and the pairs that are left when the last one is over."""
        chosen = [(rate, decay) for rate in self.learning_rates for decay in self.weight_decays]
        trials, diverged = [], set()
        for stop in rungs(self.given[width], self.factor):
            batch = [self.trial(recipe, width, pair, self.seeds[0], stop) for pair in chosen]
            trials += batch
            ran = losses.of(batch)
            if ran is None:
                return Screened(trials, None, {})
            order = sorted((loss, pair) for loss, pair in zip(ran, chosen, strict=True))
            diverged |= {pair for loss, pair in order if math.isinf(loss)}
            kept = [
                pair for loss, pair in order[: math.ceil(len(order) / self.factor)] if math.isfinite(loss)
            ]
            protected = [pair for pair in self.cross(kept[0]) if pair not in diverged] if kept else []
            chosen = sorted({*kept, *protected})
        table: Table = {pair: {self.seeds[0]: math.inf} for pair in diverged}
        return Screened(trials, chosen, table)

    def expected(self) -> dict[int, int]:
        """Returns `{width: trials}`, about as many as it will be: what is needed near the optima is not known yet."""
        found = {}
        for width in self.widths:
            pairs, trials = len(self.learning_rates) * len(self.weight_decays), 0
            for _ in rungs(self.given[width], self.factor):
                trials += pairs
                pairs = math.ceil(pairs / self.factor)
            found[width] = len(self.recipes) * (trials + pairs * len(self.seeds))
        return found
