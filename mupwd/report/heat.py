"""Loss over learning rate and weight decay, one map per width."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mupwd.report.runs import Run
from mupwd.transfer import RecipeScore


def heatmaps(score: RecipeScore, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Returns a map per width: mean losses over the seeds; None where nothing ran, "x" where one diverged or stopped.

    A mean over the seeds that are left would show a pair that breaks down now and then as one of the best.

    Args:
      score: of the recipe.
      runs: of the recipe.
    """
    losses: dict[int, dict[tuple[float, float], list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        one = run.observation()
        if one is not None and one.width in score.widths:
            losses[one.width][one.pair].append(one.loss)
    found = []
    for width, pairs in sorted(losses.items()):
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


def _cell(losses: list[float] | None) -> float | str | None:
    if losses is None:
        return None
    mean = sum(losses) / len(losses)
    return float(f"{mean:.5g}") if math.isfinite(mean) else "x"
