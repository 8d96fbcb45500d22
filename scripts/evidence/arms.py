"""What each rule's trials say of transfer: every arm of the comparison on the same scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from presets import BASE_RULE, CONTROLS
from results import Row
from rules_study import RULES, relabelled

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


@dataclass(frozen=True)
class Arm:
    """One rule.

    Attributes:
      name: of the rule.
      tuned: the pair that is transferred, at the base.
      transferred: `{width: {seed: loss}}` of that pair.
      regrets: `{width: loss lost by not tuning there}`, against the width's best pair of the same family of rules.
      score: its scorecard; None of rules of which only the transferred pair ran.
    """

    name: str
    tuned: Pair
    transferred: dict[int, dict[int, float]]
    regrets: dict[int, Estimate]
    score: RecipeScore | None = None

    @property
    def target(self) -> int:
        """The widest width."""
        return max(self.transferred)

    @property
    def loss(self) -> float:
        """Mean loss of the transferred pair at the target."""
        return float(np.mean(list(self.transferred[self.target].values())))


def arms(rows: Sequence[Row], horizon: str, vocab_size: int) -> dict[str, Arm]:
    """Returns the arms of a horizon by name: the powers of the decay, further rules, the controls that ran.

    Args:
      rows: all trials.
      horizon: "fixed" or "growing".
      vocab_size: of the text; a model that has learnt nothing has its logarithm as loss.
    """
    start = math.log(vocab_size)
    rules = [row.observation for row in rows if (row.horizon, row.sweep) == (horizon, "rules")]
    decays = common_decays(rows, horizon)
    common = [one for one in rules if one.recipe == BASE_RULE and one.weight_decay in decays]
    base = min(one.width for one in common)
    found = {name: _rule(name, common, base, decays, start) for name in RULES}
    for recipe in dict.fromkeys(one.recipe for one in rules if one.recipe != BASE_RULE):
        found[recipe] = _single(recipe, rules, common, found[OWN].tuned, base)
    controls = [row.observation for row in rows if (row.horizon, row.sweep) == (horizon, "controls")]
    for recipe in CONTROLS:
        if some := [one for one in controls if one.recipe == recipe]:
            found[recipe] = _arm(recipe, some, scorecard(some, initial_loss=start)[recipe])
    return found


def common_decays(rows: Sequence[Row], horizon: str) -> tuple[float, ...]:
    """Returns the decays of the grid that all powers share, ascending: those that ran at every width.

    Args:
      rows: all trials.
      horizon: "fixed" or "growing".
    """
    ran: dict[int, set[float]] = {}
    for row in rows:
        one = row.observation
        if (row.horizon, row.sweep, one.recipe) == (horizon, "rules", BASE_RULE):
            ran.setdefault(one.width, set()).add(one.weight_decay)
    return tuple(sorted(set.intersection(*ran.values())))


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


def _rule(
    name: str, common: Sequence[Observation], base: int, decays: tuple[float, ...], start: float
) -> Arm:
    known = [relabelled(one, name, base, decays) for one in common]
    some = [one for one in known if one is not None]
    return _arm(name, some, scorecard(some, initial_loss=start)[name])


def _arm(name: str, observations: Sequence[Observation], score: RecipeScore) -> Arm:
    transferred: dict[int, dict[int, float]] = {}
    for one in observations:
        if one.pair == score.tuned and not one.stopped:
            transferred.setdefault(one.width, {})[one.seed] = one.loss
    return Arm(name, score.tuned, transferred, score.regrets, score)


def _single(
    recipe: str, rules: Sequence[Observation], common: Sequence[Observation], tuned: Pair, base: int
) -> Arm:
    """A rule of which only the transferred pair ran: its regret is against the best pair of the common grid."""
    transferred: dict[int, dict[int, float]] = {}
    regrets = {}
    for width in sorted({one.width for one in common}):
        table = losses_by_pair(one for one in common if one.width == width)
        # At the base all rules are one.
        mine = (
            table[tuned]
            if width == base
            else {one.seed: one.loss for one in rules if (one.recipe, one.width) == (recipe, width)}
        )
        transferred[width] = dict(mine)
        rows = {pair: table[pair] for pair in complete_pairs(table)}
        best = best_pair(rows)
        # Under a name of its own, so that it is one more pair among those of the grid.
        regrets[width] = regret({**rows, (math.inf, math.inf): transferred[width]}, (math.inf, math.inf))
        if rows[best] == transferred[width]:
            regrets[width] = Estimate(0.0, (0.0, 0.0))
    return Arm(recipe, tuned, transferred, regrets)
