"""What tuning at the target would have reached with the compute that tuning at the base took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mupwd.diagnostics.powers import student
from mupwd.transfer.observations import (
    Estimate,
    Observation,
    Pair,
    best_pair,
    by_recipe,
    complete_pairs,
    losses_by_pair,
    seed_noise,
)


@dataclass(frozen=True)
class TuningGain:
    """Transfer against tuning at the target at equal compute, for one recipe.

    Attributes:
      bought: trials at the target that the compute of the base's sweep and of the transferred pair's own run pay for.
      available: pairs that ran at the target; where fewer than `bought`, tuning is taken to have run them all.
      expected: mean of the lowest loss over all choices of that many pairs, of those with a trial that did not
        diverge.
      all_diverged: the part of the choices in which every trial diverged.
      gain: `expected` minus the transferred pair's loss: above 0 where transfer is better.

    Example:
      >>> found = TuningGain(2, 5, expected=1.9, all_diverged=0.0, gain=Estimate(0.9, (0.7, 1.1)))
      >>> found.gain.within_noise
      False
    """

    bought: int
    available: int
    expected: float
    all_diverged: float
    gain: Estimate


def tuning_gain(
    observations: Iterable[Observation],
    costs: Mapping[int, float],
    tuned: Mapping[str, Pair] | None = None,
    level: float = 0.95,
) -> dict[str, TuningGain]:
    """Compares the transferred pair with the best of as many random trials at the target as cost the same.

    A tuner at the target picks N of the M pairs that ran there, without replacement, runs each with one seed and
    keeps the best. With the losses in ascending order the i-th is the lowest of the choice with probability
    `C(M - i, N - 1) / C(M, N)`, so that its mean is exact. `N = 1 + floor(trials at the base * cost / cost at the
    target)`; the 1 is the transferred pair's own run there. The seeds are those that ran with the most pairs; the
    gain is their mean, and its interval Student's with the noise of one trial about its pair's and seed's mean. Two
    things favour the tuner: a lowest loss is also a lucky one, and pairs that were only run near the optimum are
    better than those of a grid.

    Args:
      observations: finished trials of any recipes; the narrowest width of each is the base, the widest the target.
      costs: `{width: cost of one trial}` in any unit, such as seconds or tokens * width².
      tuned: `{recipe: pair}` that is transferred; by default each recipe's best pair at the base.
      level: of the interval.

    Returns:
      `{recipe: gain}`.

    Raises:
      ValueError: a recipe has fewer than two widths, the base or the target has no cost above 0, everything at the
        target diverged, or the transferred pair did not run there with the seeds of the grid.

    Example:
      >>> trials = [
      ...     Observation("mine", width, 2.0**k, 0.1, seed, loss=(k + 6) ** 2 + 1.0)
      ...     for width in (32, 64) for k in range(-8, -3) for seed in (0, 1)
      ... ]
      >>> found = tuning_gain(trials, {32: 1.0, 64: 8.0})["mine"]
      >>> found.bought, found.available, round(found.expected, 3), round(found.gain.value, 3)
      (2, 5, 1.9, 0.9)
    """
    return {
        recipe: _gain(recipe, some, costs, (tuned or {}).get(recipe), level)
        for recipe, some in by_recipe(observations).items()
    }


def _gain(
    recipe: str, observations: list[Observation], costs: Mapping[int, float], tuned: Pair | None, level: float
) -> TuningGain:
    base, target = min(one.width for one in observations), max(one.width for one in observations)
    if base == target:
        raise ValueError(f"tuning gain: expected two widths or more for recipe {recipe!r}, found {base}")
    for width in (base, target):
        if not costs.get(width, math.nan) > 0:
            raise ValueError(
                f"tuning gain: costs must hold the cost of one trial at width {width}, above 0; found {dict(costs)}"
            )
    at_base = [one for one in observations if one.width == base]
    tuned = best_pair(losses_by_pair(at_base)) if tuned is None else tuned
    table = losses_by_pair(one for one in observations if one.width == target)
    bought = 1 + math.floor(len(at_base) * costs[base] / costs[target] + 1e-9)
    ran = [seed for losses in table.values() for seed in losses]
    most = max(map(ran.count, ran))
    seeds = [seed for seed in sorted(set(ran)) if ran.count(seed) == most]
    missing = [seed for seed in seeds if seed not in table.get(tuned, {})]
    if missing:
        raise ValueError(
            f"tuning gain: the transferred pair {tuned} of recipe {recipe!r} did not run at width {target} with "
            f"seed {', '.join(map(str, missing))}, as the other pairs did; run it there"
        )
    lowest, chances, parts = zip(
        *(
            _lowest({pair: one[seed] for pair, one in table.items() if seed in one}, bought, tuned)
            for seed in seeds
        ),
        strict=True,
    )
    if not np.isfinite(lowest).all():
        raise ValueError(
            f"tuning gain: all trials of recipe {recipe!r} at width {target} diverged; lower the learning rates"
        )
    expected = float(np.mean(lowest))
    value = expected - float(np.mean([table[tuned][seed] for seed in seeds]))
    noise, freedom = seed_noise(list(complete_pairs(table).values()))
    gain = Estimate(value, None)
    if freedom and math.isfinite(value):
        error = noise * math.sqrt(sum(parts)) / len(seeds)
        half = student(level, freedom) * error
        gain = Estimate(value, (value - half, value + half))
    return TuningGain(bought, most, expected, float(np.mean(chances)), gain)


def _lowest(losses: Mapping[Pair, float], bought: int, tuned: Pair) -> tuple[float, float, float]:
    """Mean lowest loss of the choices with a finite one, the part of those without, and the sum of the squared
    shares that the trials have in the gain."""
    pairs = sorted(losses, key=losses.__getitem__)
    size, choice = len(pairs), min(bought, len(pairs))
    ways = [math.comb(size - i, choice - 1) for i in range(1, size + 1)]
    finite = [i for i, pair in enumerate(pairs) if math.isfinite(losses[pair])]
    total = sum(ways[i] for i in finite)
    if not total:
        return math.inf, 1.0, 0.0
    shares = {pairs[i]: ways[i] / total for i in finite}
    mean = sum(share * losses[pair] for pair, share in shares.items())
    squares = sum((share - (pair == tuned)) ** 2 for pair, share in shares.items())
    return mean, 1 - total / math.comb(size, choice), squares
