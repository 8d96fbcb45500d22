"""What searches have in common: they screen pairs with one seed, then run in full what the scorecard needs.

The scorecard looks at the best pair of a width, at the line over learning rates at the tuned decay, and at the line
over decays at the best of those. So a search ends, at each width, when the best of all three and their neighbours
have run to their end with all seeds, and with one seed what else of the two lines a fit takes in. Until then those that
are missing are wanted: what screening missed, a descent along the lines finds.

Trials come in stages, and a stage is known from the losses of those before it alone, once all of them are there.
Any number of processes so want the same trials, whichever finishes first, and what was wanted once stays wanted.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mupwd.sweep.trial import Result, Trial
from mupwd.transfer.curve import learning_rate_curve, weight_decay_curve
from mupwd.transfer.observations import Pair
from mupwd.transfer.optimum import offset_means

Table = dict[Pair, dict[int, float]]

WINDOW = 2.0
"""Octaves on either side of an optimum that its fit takes in."""


class Losses:
    """Losses of the trials that are over, by their ids; infinite where one diverged or was given up.

    Args:
      results: of finished trials.
      failed: ids of those that were given up.
    """

    def __init__(self, results: Iterable[Result], failed: Collection[str]):
        self._known = dict.fromkeys(failed, math.inf) | {one.trial.id: one.loss for one in results}

    def of(self, trials: Iterable[Trial]) -> list[float] | None:
        """Returns the trials' losses; None where some are not over."""
        losses = [self._known.get(trial.id) for trial in trials]
        return None if None in losses else [one for one in losses if one is not None]


class Screened(NamedTuple):
    """What screening one width wants.

    trials: so far. chosen: pairs to run in full with all seeds; None while it goes on. table: losses that count as
    those of whole trials: of whole trials, and of what diverged.
    """

    trials: list[Trial]
    chosen: list[Pair] | None
    table: Table


@dataclass(frozen=True)
class Search(ABC):
    """A search of each recipe and width, and what must run around its optima.

    Args:
      widths: ascending; what is best at the first one is transferred to the others.
      recipes: their names.
      learning_rates: the values that there are, ascending.
      weight_decays: likewise.
      seeds: the first one screens.
      given: `{width: what its trials are given besides}`, their `steps` among it.
      stride: places on either axis from an optimum to the neighbours that must run.
    """

    widths: tuple[int, ...]
    recipes: tuple[str, ...]
    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    seeds: tuple[int, ...]
    given: Mapping[int, Mapping[str, Any]]
    stride: int = 1

    @abstractmethod
    def screen(self, recipe: str, width: int, losses: Losses) -> Screened:
        """Returns what can be told to be needed to choose the pairs that run in full."""

    @abstractmethod
    def expected(self) -> dict[int, int]:
        """Returns `{width: trials}`, about as many as it will be."""

    def wanted(self, results: Iterable[Result], failed: Collection[str] = ()) -> list[Trial]:
        """Returns the trials that can be told to be needed from the results so far, finished ones included.

        Once all of them are over, another call may return more; the search is complete when it doesn't.

        Args:
          results: finished trials.
          failed: ids of the trials that were given up; they count as worse than all others.
        """
        losses = Losses(results, failed)
        return [trial for recipe in self.recipes for trial in self._wanted_under(recipe, losses)]

    def trial(self, recipe: str, width: int, pair: Pair, seed: int, stop_at: int | None = None) -> Trial:
        """Returns the trial of one point."""
        stop = {} if stop_at is None else {"stop_at": stop_at}
        values = {"recipe": recipe, "learning_rate": pair[0], "weight_decay": pair[1]}
        return Trial(width, {**self.given[width], **stop, **values}, seed)

    def cross(self, centre: Pair) -> list[Pair]:
        """Returns a pair and its neighbours in either hyperparameter."""
        return [centre, *self._along(0, centre, 1), *self._along(1, centre, 1)]

    def _along(self, which: int, centre: Pair, steps: int | None = None) -> list[Pair]:
        """The pairs on one side and the other of one, in one hyperparameter: so many, or all that a fit takes in."""
        axis = (self.learning_rates, self.weight_decays)[which]
        at = axis.index(centre[which])
        found = []
        for side in (-self.stride, self.stride):
            for step in itertools.count(1):
                place = min(max(at + side * step, 0), len(axis) - 1)
                far = step > 1 and abs(math.log2(axis[place] / axis[at])) > WINDOW + 1e-9
                if place == at or far or (steps is not None and step > steps):
                    break
                found.append((axis[place], centre[1]) if which == 0 else (centre[0], axis[place]))
                if place in (0, len(axis) - 1):
                    break
        return found

    def _wanted_under(self, recipe: str, losses: Losses) -> list[Trial]:
        base, *others = self.widths
        trials, table = self._searched(recipe, base, losses, None)
        tuned = _best(table) if table is not None else None
        for width in others:
            # What is transferred is known once the base is done.
            trials += self._searched(recipe, width, losses, tuned, further=table is not None)[0]
        return trials

    def _searched(
        self, recipe: str, width: int, losses: Losses, tuned: Pair | None, further: bool = True
    ) -> tuple[list[Trial], Table | None]:
        """The trials that one width wants, and the losses of whole ones when it is complete.

        `further`: than what screening chose.
        """
        trials, chosen, table = self.screen(recipe, width, losses)
        if chosen is None:
            return trials, None
        points = [(pair, seed) for pair in chosen for seed in self.seeds]
        while True:
            whole = [self.trial(recipe, width, pair, seed) for pair, seed in points]
            ran = losses.of(whole)
            if ran is None or not further:
                return trials + whole, None
            found: Table = {pair: dict(seeds) for pair, seeds in table.items()}
            for (pair, seed), loss in zip(points, ran, strict=True):
                found.setdefault(pair, {})[seed] = loss
            more = [
                (pair, seed)
                for pair, seed in self._around(found, tuned)
                # The regret asks for the tuned pair even where it diverges.
                if (pair, seed) not in points and (pair == tuned or not _diverged(found, pair))
            ]
            if not more:
                return trials + whole, found
            points += more

    def _around(self, table: Table, tuned: Pair | None) -> list[tuple[Pair, int]]:
        """The points that the scorecard's optima are told by."""
        best = _best(table)
        if best is None:
            return [] if tuned is None else [(tuned, seed) for seed in self.seeds]
        centre = best if tuned is None else tuned
        near, far = [*self.cross(best), centre], []
        rates = learning_rate_curve(table, centre[1])
        if any(map(math.isfinite, rates.means.values())):
            on_rates = rates.best, centre[1]
            on_decays = rates.best, weight_decay_curve(table, rates.best).best
            for which, one in enumerate((on_rates, on_decays)):
                near += [one, *self._along(which, one, 1)]
                far += self._along(which, one)
        points = [(pair, seed) for pair in near for seed in self.seeds]
        points += [(pair, self.seeds[0]) for pair in far]
        return list(dict.fromkeys(points))


def _best(table: Table) -> Pair | None:
    """The pair with the lowest loss, those with fewer seeds included; None where all diverged."""
    pairs = sorted(table)
    means = offset_means(table, pairs) if pairs else []
    lowest = min(zip(means, pairs, strict=True), default=(math.inf, None))
    return lowest[1] if math.isfinite(lowest[0]) else None


def _diverged(table: Table, pair: Pair) -> bool:
    return pair in table and not any(map(math.isfinite, table[pair].values()))
