"""The study of transfer: tune at the narrowest width, apply at the widest, and look at what lies in between.

What to run next is a pure function of what has been run, so that a study can be stopped and started at will.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mupwd.sweep.grid import neighbours
from mupwd.sweep.trial import Result, Trial
from mupwd.transfer.observations import Observation, Pair, best_pair, losses_by_pair
from mupwd.transfer.scorecard import learning_rate_curve, weight_decay_curve


@dataclass(frozen=True)
class Study:
    """A full grid at the base, a cross through the optimum at the other widths, more seeds near the optima.

    At the base every learning rate meets every decay. The best pair there, by the mean over all seeds, is the
    tuned one. At every other width all learning rates run at the tuned decay, then all decays at the best of
    those learning rates. Next to each optimum, and for the tuned pair itself, all seeds run; elsewhere the
    first seed does.

    Args:
      widths: the base first, then wider ones; the last is the target.
      recipes: names of the recipes to compare.
      learning_rates: at the base; a recipe scales them at the other widths.
      weight_decays: likewise, in the trials' decay convention.
      seeds: the first one screens.
      hyperparameters: what all trials have in common.

    Raises:
      ValueError: an argument is empty, repeats itself or is out of order; the message names it.
    """

    widths: tuple[int, ...]
    recipes: tuple[str, ...]
    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (
            ("widths", 2),
            ("recipes", 1),
            ("learning_rates", 3),
            ("weight_decays", 3),
            ("seeds", 1),
        ):
            values = getattr(self, name)
            if len(values) < least or len(set(values)) != len(values):
                raise ValueError(
                    f"study: {name} must be {least} or more different values, got {list(values)}"
                )
        if list(self.widths) != sorted(self.widths):
            raise ValueError(
                f"study: widths must ascend from the base to the target, got {list(self.widths)}"
            )
        for name in ("learning_rates", "weight_decays"):
            if min(getattr(self, name)) <= 0:
                raise ValueError(f"study: {name} must be above 0, got {list(getattr(self, name))}")

    @property
    def base(self) -> int:
        """The width that is tuned."""
        return self.widths[0]

    @property
    def target(self) -> int:
        """The width that the tuned pair is applied at."""
        return self.widths[-1]

    def given(self, width: int) -> dict[str, Any]:
        """Returns what all trials of a width are given."""
        return {**self.hyperparameters, "base": self.base}

    def trial(self, recipe: str, width: int, pair: Pair, seed: int) -> Trial:
        """Returns the trial of one point."""
        values = {
            **self.given(width),
            "recipe": recipe,
            "learning_rate": pair[0],
            "weight_decay": pair[1],
        }
        return Trial(width, values, seed)

    def wanted(self, results: Iterable[Result], failed: Collection[str] = ()) -> list[Trial]:
        """Returns the trials that can be told to be needed from the results so far, finished ones included.

        Once all of them are finished, another call may return more; the study is complete when it doesn't.

        Args:
          results: finished trials of this study.
          failed: ids of the trials that were given up: what depends on them is not wanted.
        """
        seen: dict[tuple[str, int], list[Observation]] = {}
        for result in results:
            one = result.observation()
            seen.setdefault((one.recipe, one.width), []).append(one)
        trials: dict[str, Trial] = {}
        for recipe in self.recipes:
            base = losses_by_pair(seen.get((recipe, self.base), []))
            points, tuned = self._wanted_at_base(base)
            wanted = {self.base: points}
            if tuned is not None:
                for width in self.widths[1:]:
                    table = losses_by_pair(seen.get((recipe, width), []))
                    wanted[width] = self._wanted_at(table, tuned)
            for width, pairs in wanted.items():
                for pair, seed in pairs:
                    trial = self.trial(recipe, width, pair, seed)
                    trials[trial.id] = trial
        return list(trials.values())

    def expected(self) -> dict[int, int]:
        """Returns `{width: trials}` as they come out where every optimum lies inside the grid."""
        more = len(self.seeds) - 1
        rates, decays = len(self.learning_rates), len(self.weight_decays)
        base = rates * decays + 5 * more
        other = rates + decays - 1 + 6 * more
        return {width: len(self.recipes) * (base if width == self.base else other) for width in self.widths}

    def _wanted_at_base(
        self, table: dict[Pair, dict[int, float]]
    ) -> tuple[list[tuple[Pair, int]], Pair | None]:
        """What the base needs, and the tuned pair once that is complete."""
        first = self.seeds[0]
        grid = [((rate, decay), first) for rate in self.learning_rates for decay in self.weight_decays]
        if not _finished(grid, table):
            return grid, None
        best = best_pair({pair: {first: losses[first]} for pair, losses in table.items()})
        points = [*grid, *self._all_seeds([best])]
        if not _finished(points, table):
            return points + self._around(table, best), None
        tuned = best_pair(table)
        points += self._around(table, tuned)
        return points, tuned if _finished(points, table) else None

    def _wanted_at(self, table: dict[Pair, dict[int, float]], tuned: Pair) -> list[tuple[Pair, int]]:
        first = self.seeds[0]
        line = [((rate, tuned[1]), first) for rate in self.learning_rates]
        points = [*line, *self._all_seeds([tuned])]
        if not _finished(points, table):
            return points
        curve = learning_rate_curve(table, tuned[1])
        points += self._all_seeds([(rate, tuned[1]) for rate in neighbours(self.learning_rates, curve.best)])
        if not _finished(points, table):
            return points
        rate = learning_rate_curve(table, tuned[1]).best
        points += [((rate, decay), first) for decay in self.weight_decays]
        if not _finished(points, table):
            return points
        curve = weight_decay_curve(table, rate)
        return points + self._all_seeds(
            [(rate, decay) for decay in neighbours(self.weight_decays, curve.best)]
        )

    def _around(self, table: dict[Pair, dict[int, float]], centre: Pair) -> list[tuple[Pair, int]]:
        """All seeds next to the minima of the two lines through a pair."""
        rate = learning_rate_curve(table, centre[1]).best
        decay = weight_decay_curve(table, centre[0]).best
        return self._all_seeds(
            [(one, centre[1]) for one in neighbours(self.learning_rates, rate)]
            + [(centre[0], one) for one in neighbours(self.weight_decays, decay)]
        )

    def _all_seeds(self, pairs: Iterable[Pair]) -> list[tuple[Pair, int]]:
        return [(pair, seed) for pair in pairs for seed in self.seeds]


def _finished(points: Iterable[tuple[Pair, int]], table: Mapping[Pair, Mapping[int, float]]) -> bool:
    return all(seed in table.get(pair, {}) for pair, seed in points)
