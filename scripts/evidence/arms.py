"""What each rule's trials say of transfer: every arm of the comparison on the same scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from presets import BASE_RULE, CONTROLS
from results import Row
from rules_study import RULES, nearest, relabelled, steps_apart, tuned_pair

from mupwd.transfer import RecipeScore, scorecard
from mupwd.transfer.observations import (
    Estimate,
    Observation,
    Pair,
    best_pair,
    complete_pairs,
    losses_by_pair,
    regret,
)

OWN = "p = 1/2"
Tables = dict[int, dict[Pair, dict[int, float]]]
"""`{width: {pair: {seed: loss}}}`."""


@dataclass(frozen=True)
class Arm:
    """One rule.

    Attributes:
      name: of the rule.
      pair: that is transferred, at the base.
      transferred: `{width: {seed: loss}}` of that pair.
      regrets: `{width: loss lost by not tuning there}`, against the width's best pair of the same family of rules.
      score: its scorecard, where the pair is the tuned one.
      tables: losses of all its trials, likewise.
    """

    name: str
    pair: Pair
    transferred: dict[int, dict[int, float]]
    regrets: dict[int, Estimate]
    score: RecipeScore | None = None
    tables: Tables = field(default_factory=dict)

    @property
    def target(self) -> int:
        """The widest width."""
        return max(self.transferred)

    @property
    def loss(self) -> float:
        """Mean loss of the transferred pair at the target."""
        return float(np.mean(list(self.transferred[self.target].values())))


@dataclass(frozen=True)
class Comparison:
    """What the trials of one horizon say of the rules, and what they are said on.

    Attributes:
      rows: all trials of the horizon.
      common: those of the grid that all powers share, and of the rules that are compared at the strong decay only.
      decays: of that grid, ascending: those that ran at every width.
      base: width.
      arms: the powers, by name, at the tuned pair.
      controls: the controls that ran to their end, likewise.
      strong: the rules at the tuned learning rate and the strong decay; regret is against each width's best pair
        of the common grid.
    """

    rows: list[Row]
    common: list[Row]
    decays: tuple[float, ...]
    base: int
    arms: dict[str, Arm]
    controls: dict[str, Arm]
    strong: dict[str, Arm]

    @property
    def own(self) -> Arm:
        """The rule under which the common grid ran."""
        return self.arms[OWN]


def compare(rows: Sequence[Row], horizon: str, strong: float, vocab_size: int) -> Comparison:
    """Returns what each rule makes of its tuned pair.

    Args:
      rows: all trials.
      horizon: "fixed" or "growing".
      strong: the strong decay, at the base.
      vocab_size: of the text; a model that has learnt nothing has its logarithm as loss.
    """
    mine = [row for row in rows if row.horizon == horizon]
    rules = [row for row in mine if row.sweep == "rules"]
    decays = _common_decays(rules)
    common = [
        row for row in rules if row.observation.recipe != BASE_RULE or row.observation.weight_decay in decays
    ]
    grid = [row.observation for row in common if row.observation.recipe == BASE_RULE]
    others = [row.observation for row in common if row.observation.recipe != BASE_RULE]
    tables = _tables(grid)
    base = min(tables)
    tuned = tuned_pair(tables[base], decays, max(tables) / base)
    start = math.log(vocab_size)
    return Comparison(
        mine,
        common,
        decays,
        base,
        {name: _rule(name, grid, base, decays, tuned, start) for name in RULES},
        _controls(mine, set(tables), start),
        _strong(tables, others, decays, (tuned[0], nearest(decays, strong))),
    )


def _common_decays(rules: Sequence[Row]) -> tuple[float, ...]:
    ran: dict[int, set[float]] = {}
    for row in rules:
        if row.observation.recipe == BASE_RULE:
            ran.setdefault(row.observation.width, set()).add(row.observation.weight_decay)
    return tuple(sorted(set.intersection(*ran.values())))


def _tables(observations: Sequence[Observation]) -> Tables:
    return {
        width: losses_by_pair(one for one in observations if one.width == width)
        for width in sorted({one.width for one in observations})
    }


def _controls(rows: Sequence[Row], widths: set[int], start: float) -> dict[str, Arm]:
    controls = [row.observation for row in rows if row.sweep == "controls"]
    found = {}
    for recipe in CONTROLS:
        some = [one for one in controls if one.recipe == recipe]
        if _is_complete(some, widths):
            found[recipe] = _arm(recipe, some, scorecard(some, initial_loss=start)[recipe])
    return found


def preferred_power(arm: Arm) -> Estimate | None:
    """Returns the power of the width that the loss prefers for the decay, from the trials under `p = 1/2`.

    A best decay that drifts by so many octaves per doubling under one power asks for that power more.

    Args:
      arm: that of `p = 1/2`.
    """
    drift = arm.score.joint_weight_decay_drift if arm.score else None
    if drift is None or drift.interval is None:
        return None
    low, high = drift.interval
    return Estimate(0.5 + drift.slope, (0.5 + low, 0.5 + high))


def _is_complete(observations: Sequence[Observation], widths: set[int]) -> bool:
    """Whether a sweep of a control has come to its end: at every width some pairs ran with all seeds."""
    seeds = {one.seed for one in observations}
    ran = {width: losses_by_pair(one for one in observations if one.width == width) for width in widths}
    return all(table and max(map(len, table.values())) == len(seeds) for table in ran.values())


def _rule(
    name: str, grid: Sequence[Observation], base: int, decays: tuple[float, ...], tuned: Pair, start: float
) -> Arm:
    known = [relabelled(one, name, base, decays) for one in grid]
    some = [one for one in known if one is not None]
    return _arm(name, some, scorecard(some, {name: tuned}, initial_loss=start)[name])


def _arm(name: str, observations: Sequence[Observation], score: RecipeScore) -> Arm:
    transferred: dict[int, dict[int, float]] = {}
    for one in observations:
        if one.pair == score.tuned and not one.stopped:
            transferred.setdefault(one.width, {})[one.seed] = one.loss
    return Arm(name, score.tuned, transferred, score.regrets, score, _tables(observations))


def _strong(
    tables: Tables, others: Sequence[Observation], decays: tuple[float, ...], pair: Pair
) -> dict[str, Arm]:
    """The rules of the common grid, and the others, at a pair that is not the tuned one."""
    base = min(tables)
    found: dict[str, Arm] = {}
    for name in (*RULES, *dict.fromkeys(one.recipe for one in others)):
        losses: dict[int, dict[int, float]] = {}
        for width, table in tables.items():
            if width == base:  # there all rules are one
                losses[width] = dict(table[pair])
            elif name in RULES:
                at = decays.index(pair[1]) + steps_apart(name, width, base)
                if 0 <= at < len(decays):
                    losses[width] = dict(table[(pair[0], decays[at])])
            elif some := {one.seed: one.loss for one in others if (one.recipe, one.width) == (name, width)}:
                losses[width] = some
        regrets = {width: _against_best(tables[width], mine) for width, mine in losses.items()}
        found[name] = Arm(name, pair, losses, regrets)
    return found


def _against_best(table: dict[Pair, dict[int, float]], mine: dict[int, float]) -> Estimate:
    complete = {pair: table[pair] for pair in complete_pairs(table)}
    if mine == complete[best_pair(complete)]:
        return Estimate(0.0, (0.0, 0.0))
    # Under a name of its own: one more pair among those of the grid.
    alone = (math.inf, math.inf)
    return regret({**complete, alone: mine}, alone)
