"""Loss over learning rate and weight decay, one map per width."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mupwd.report.runs import Run
from mupwd.transfer import Observation, RecipeScore


def heatmaps(score: RecipeScore, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Returns a map per width: mean losses over the seeds that ran to the end; else None, "x" or "s".

    None where nothing ran; "x" where a seed diverged, since the mean over those that are left would show a pair that
    breaks down now and then as one of the best; "s" where all were stopped early.

    Args:
      score: of the recipe.
      runs: of the recipe.
    """
    ran: dict[int, dict[tuple[float, float], list[Observation]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        one = run.observation()
        if one is not None and one.width in score.widths:
            ran[one.width][one.pair].append(one)
    found = []
    for width, pairs in sorted(ran.items()):
        rates, decays = (sorted({pair[at] for pair in pairs}) for at in (0, 1))
        found.append(
            {
                "width": width,
                "rates": rates,
                "decays": decays,
                "losses": [[_cell(pairs.get((rate, decay))) for rate in rates] for decay in decays],
                "tuned": list(score.tuned),
                "best": list(score.widths[width].best),
            }
        )
    return found


def _cell(ran: list[Observation] | None) -> float | str | None:
    if ran is None:
        return None
    losses = [one.loss for one in ran if not one.stopped]
    if not losses:
        return "s"
    mean = sum(losses) / len(losses)
    return float(f"{mean:.5g}") if math.isfinite(mean) else "x"
