"""Which runs of a large sweep are drawn against step: at the tuned pair, then its neighbours while there is room."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from mupwd.report.runs import Group, Run
from mupwd.transfer import RecipeScore

ROOM = 150_000
"""Points of pairs beside the tuned ones: about half a megabyte."""

_MOST = 1500  # points of a series that a page draws


def drawn(group: Group, scores: Mapping[str, RecipeScore]) -> list[bool]:
    """Returns whether each run is drawn; how many are not is added to the group's notes.

    Without a verdict all are, since no run is then more interesting than another. A trial that was stopped early and
    then ran to its end is drawn once.

    Args:
      group: with its runs.
      scores: of the group's recipes.
    """
    runs: dict[tuple[str, str], list[Run]] = defaultdict(list)
    ended = {_trial(run) for run in group.runs if run.status != "stopped"}
    for run in group.runs:
        if run.status != "stopped" or _trial(run) not in ended:
            runs[run.recipe, run.pair].append(run)
    far = {key: _octaves(some[0], scores.get(key[0])) for key, some in runs.items()}
    found: set[tuple[str, str]] = set()
    room, left_out = ROOM, 0
    for key in sorted(runs, key=far.__getitem__):
        points = sum(_points(run) for run in runs[key]) if far[key] > 0 else 0
        if points > room:
            # A farther pair that happens to be small would be a choice without a reason.
            room, left_out = 0, left_out + sum(bool(run.log.series) for run in runs[key])
        else:
            found.add(key)
            room -= points
    if left_out:
        group.notes.append(
            f"{group.name}: {left_out} runs far from the tuned pairs have no curves against step here, "
            "to keep the file small"
        )
    return [
        (run.recipe, run.pair) in found and (run.status != "stopped" or _trial(run) not in ended)
        for run in group.runs
    ]


def _trial(run: Run) -> tuple[str, str, int, int]:
    return run.recipe, run.pair, run.width, run.seed


def _points(run: Run) -> int:
    return sum(min(len(steps), _MOST) for steps, _ in run.log.series.values())


def _octaves(run: Run, score: RecipeScore | None) -> float:
    """From the tuned pair; a decay of 0, which has no logarithm, is far from every other."""
    if score is None:
        return 0.0
    pairs = zip((run.learning_rate, run.weight_decay), score.tuned, strict=True)
    return sum(0.0 if a == b else abs(math.log2(a / b)) if a > 0 and b > 0 else math.inf for a, b in pairs)
