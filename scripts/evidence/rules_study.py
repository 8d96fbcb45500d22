"""The trials that say which power of the width the matrices' decay should follow.

Rules that differ in nothing but that power, `wd = wd_base · m^p`, run the same trials at any one width, under other
names: the pair (lr, wd) of the rule p is the pair (lr, wd · m^(p - q)) of the rule q. So one grid, run under q = 1/2,
serves them all, if its decays are `sqrt(2)` apart and widths powers of two.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from presets import BASE_RULE

from mupwd.sweep.declare import Sweep
from mupwd.sweep.grid import neighbours
from mupwd.sweep.trial import Result, Trial
from mupwd.transfer.observations import Observation, Pair, best_pair, losses_by_pair

RULES = {"p = 0": 0.0, "p = 1/2": 0.5, "p = 1": 1.0}
_OWN = 0.5  # the power under which trials run


def relabelled(
    observation: Observation, name: str, base: int, decays: tuple[float, ...]
) -> Observation | None:
    """Returns what a trial of the common grid is called under another rule; None where its decay leaves the grid.

    Args:
      observation: of a trial under the grid's own rule.
      name: of the rule in `RULES`.
      base: width.
      decays: of the grid, ascending, sqrt(2) apart.
    """
    at = decays.index(observation.weight_decay) - steps_apart(name, observation.width, base)
    if not 0 <= at < len(decays):
        return None
    return dataclasses.replace(observation, recipe=name, weight_decay=decays[at])


def tuned_pair(table: Mapping[Pair, Mapping[int, float]], decays: tuple[float, ...], widest: float) -> Pair:
    """Returns the best pair at the base, of those whose decay stays on the grid under every rule at every width.

    Args:
      table: `{pair: {seed: loss}}` of the base.
      decays: of the grid, ascending, sqrt(2) apart.
      widest: ratio of the widest width to the base.
    """
    room = max(abs(round(2 * (power - _OWN) * math.log2(widest))) for power in RULES.values())
    some = {pair: losses for pair, losses in table.items() if pair[1] in decays[room : len(decays) - room]}
    return _best_so_far(some)


def _best_so_far(table: Mapping[Pair, Mapping[int, float]]) -> Pair:
    """The best of the pairs that ran with the most seeds; not all of them need have run."""
    most = max(map(len, table.values()))
    return best_pair({pair: losses for pair, losses in table.items() if len(losses) == most})


def nearest(decays: tuple[float, ...], wanted: float) -> float:
    """Returns the decay of a grid that is nearest to one; steps of sqrt(2) are not exact in floating point."""
    return min(decays, key=lambda one: abs(math.log2(one / wanted)))


def steps_apart(name: str, width: int, base: int) -> int:
    """Returns by how many steps of sqrt(2) a rule's decay at a width is above the grid's own rule's."""
    return round(2 * (RULES[name] - _OWN) * math.log2(width / base))


@dataclass(frozen=True)
class RulesStudy:
    """The whole grid with the first seed; all seeds wherever a rule's verdict needs them.

    A verdict needs, at each width, the best pair and its neighbours, the pair that the rule transfers, and that pair
    with the strong decay.

    Args:
      sweep: the grid; one recipe.
      strong: the decay of the grid nearest to this, at the base, at which rules are compared besides the tuned one.
      others: recipes of which only the tuned learning rate with the strong decay runs, at every width but the base.
    """

    sweep: Sweep
    strong: float
    others: tuple[str, ...] = ()

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of the recipes that trials run under."""
        return (*self.sweep.recipes, *self.others)

    def wanted(self, results: Iterable[Result], failed: Collection[str] = ()) -> list[Trial]:
        """Returns the trials that can be told to be needed from the results so far, finished ones included.

        Args:
          results: whatever is finished.
          failed: ids of the trials that were given up.
        """
        first = self.sweep.seeds[0]
        grid = [one for one in self.sweep.trials if one.seed == first]
        finished = {result.trial.id: result.observation() for result in results}
        if any(one.id not in finished and one.id not in failed for one in grid):
            return grid
        tables = {
            width: losses_by_pair(
                one for one in finished.values() if one.width == width and one.recipe == BASE_RULE
            )
            for width in self.sweep.widths
        }
        trials = {one.id: one for one in grid}
        narrowest, widest = self.sweep.widths[0], self.sweep.widths[-1]
        tuned = tuned_pair(tables[narrowest], self._decays, widest / narrowest)
        for width in self.sweep.widths:
            pairs = self._needed(tables[width], tuned, width)
            strong = (tuned[0], self._strong)
            for recipe, some in [(BASE_RULE, pairs), *((other, {strong}) for other in self.others)]:
                if recipe != BASE_RULE and width == narrowest:
                    continue  # at the base all rules are one
                for pair in sorted(some):
                    for seed in self.sweep.seeds:
                        trial = self._trial(recipe, width, pair, seed)
                        trials[trial.id] = trial
        return list(trials.values())

    def expected(self) -> dict[int, int]:
        """Returns `{width: trials}`, about as many as it will be."""
        grid = len(self.sweep.learning_rates) * len(self.sweep.weight_decays)
        more = (len(self.sweep.seeds) - 1) * 14
        narrowest = self.sweep.widths[0]
        return {
            width: grid + more + (0 if width == narrowest else len(self.others) * len(self.sweep.seeds))
            for width in self.sweep.widths
        }

    def _needed(self, table: dict[Pair, dict[int, float]], tuned: Pair, width: int) -> set[Pair]:
        """The pairs of the grid, as its own rule calls them, that need all seeds at a width."""
        best = _best_so_far(table)
        found = self._cross(best, reach=2)
        decays = self._decays
        for name in RULES:
            for decay in (tuned[1], self._strong):
                at = decays.index(decay) + steps_apart(name, width, self.sweep.widths[0])
                if 0 <= at < len(decays):
                    found.add((tuned[0], decays[at]))
        return found

    def _cross(self, pair: Pair, reach: int) -> set[Pair]:
        """A pair, the learning rates next to it, and decays up to so many steps from it."""
        decays, at = self._decays, self._decays.index(pair[1])
        found = {(rate, pair[1]) for rate in neighbours(self.sweep.learning_rates, pair[0])}
        return found | {(pair[0], one) for one in decays[max(at - reach, 0) : at + reach + 1]}

    @property
    def _strong(self) -> float:
        return nearest(self._decays, self.strong)

    @property
    def _decays(self) -> tuple[float, ...]:
        return tuple(sorted(self.sweep.weight_decays))

    def _trial(self, recipe: str, width: int, pair: Pair, seed: int) -> Trial:
        values = {
            **self.sweep.given(width),
            "recipe": recipe,
            "learning_rate": pair[0],
            "weight_decay": pair[1],
        }
        return Trial(width, values, seed)
