"""What searches have in common: they screen pairs with one seed, then run in full what the scorecard needs.

The scorecard looks at the best pair of a width, at the line over learning rates at the tuned decay, and at the line
over decays at the best of those. So a search ends, at each width, when the best of all three and their neighbours
have run to their end with all seeds. Until then the neighbours that are missing are wanted: what screening missed, a
descent along the lines finds.

Trials come in stages, and a stage is known from the losses of those before it alone, once all of them are there.
Any number of processes so want the same trials, whichever finishes first, and what was wanted once stays wanted.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mupwd.sweep.trial import Result, Trial
from mupwd.transfer.curve import learning_rate_curve, weight_decay_curve
from mupwd.transfer.observations import Pair
from mupwd.transfer.optimum import offset_means

Table = dict[Pair, dict[int, float]]


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
        rates, decays = (
            self._near(axis, at)
            for axis, at in zip((self.learning_rates, self.weight_decays), centre, strict=True)
        )
        return [centre, *((rate, centre[1]) for rate in rates), *((centre[0], decay) for decay in decays)]

    def _near(self, axis: Sequence[float], value: float) -> list[float]:
        at = axis.index(value)
        places = {max(at - self.stride, 0), min(at + self.stride, len(axis) - 1)} - {at}
        return [axis[place] for place in sorted(places)]

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
        while True:
            whole = [self.trial(recipe, width, pair, seed) for pair in chosen for seed in self.seeds]
            ran = losses.of(whole)
            if ran is None or not further:
                return trials + whole, None
            found: Table = {pair: dict(seeds) for pair, seeds in table.items()}
            places = [(pair, seed) for pair in chosen for seed in self.seeds]
            for (pair, seed), loss in zip(places, ran, strict=True):
                found.setdefault(pair, {})[seed] = loss
            more = [
                pair
                for pair in self._around(found, tuned)
                # The regret asks for the tuned pair even where it diverges.
                if pair not in chosen and (pair == tuned or not _diverged(found, pair))
            ]
            if not more:
                return trials + whole, found
            chosen = [*chosen, *more]

    def _around(self, table: Table, tuned: Pair | None) -> list[Pair]:
        """The pairs that the scorecard's optima are told by."""
        best = _best(table)
        if best is None:
            return [] if tuned is None else [tuned]
        centre = best if tuned is None else tuned
        pairs = [*self.cross(best), centre]
        rates = learning_rate_curve(table, centre[1])
        if not any(map(math.isfinite, rates.means.values())):
            return list(dict.fromkeys(pairs))
        rate = rates.best
        pairs += [(rate, centre[1]), *((one, centre[1]) for one in self._near(self.learning_rates, rate))]
        decay = weight_decay_curve(table, rate).best
        pairs += [(rate, decay), *((rate, one) for one in self._near(self.weight_decays, decay))]
        return list(dict.fromkeys(pairs))


def _best(table: Table) -> Pair | None:
    """The pair with the lowest loss, those with fewer seeds included; None where all diverged."""
    pairs = sorted(table)
    means = offset_means(table, pairs) if pairs else []
    lowest = min(zip(means, pairs, strict=True), default=(math.inf, None))
    return lowest[1] if math.isfinite(lowest[0]) else None


def _diverged(table: Table, pair: Pair) -> bool:
    return pair in table and not any(map(math.isfinite, table[pair].values()))
