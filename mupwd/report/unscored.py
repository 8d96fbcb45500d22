"""Cards of recipes whose runs cannot be judged: that they diverged, or what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mupwd.report.runs import Run
from mupwd.report.words import Mark, value_words
from mupwd.transfer import Observation
from mupwd.transfer.observations import best_pair, complete_pairs, losses_by_pair


def unscored(label: str, runs: Sequence[Run], reason: str, others: Sequence[str]) -> dict[str, Any]:
    """Returns what the panel says of a recipe that has no score, as JSON types.

    Args:
      label: that it has on the page.
      runs: of the recipe; one or more have ended.
      reason: why it has no score.
      others: which recipes to take in its place, in words.
    """
    ended = [one for run in runs if (one := run.observation()) is not None]
    gone = _diverged(runs, ended)
    mark: Mark = "bad" if gone else "open"
    if gone:
        count = sum(one.width in gone for one in ended)
        which = f"all {count} runs that ended there" if count > 1 else "the one run that ended there"
        text = f"Training broke down at width {_several(gone)}: {which} diverged"
        advice = [f"run lower learning rates at width {_several(gone)}", *others[:1]]
    else:
        text, advice = _missing(ended, reason)
    return {
        "label": label,
        "mark": mark,
        "word": "diverges" if gone else "undecided",
        "sentences": [{"mark": mark, "text": text}],
        "next": advice,
    }


def _diverged(runs: Sequence[Run], ended: Sequence[Observation]) -> list[int]:
    """The widths at which all runs are over and diverged."""
    left = {run.width for run in runs if run.status == "running"}
    fine = {one.width for one in ended if one.stopped or math.isfinite(one.loss)}
    return sorted({one.width for one in ended} - fine - left)


def _missing(ended: Sequence[Observation], reason: str) -> tuple[str, list[str]]:
    """What is missing for a verdict, and what to do about it."""
    widths = sorted({one.width for one in ended})
    if any(math.isnan(one.weight_decay) for one in ended):
        return "The runs do not say their weight decay, so that they cannot be compared", [
            "give weight_decay in what describes a run, 0 where there is none"
        ]
    try:
        tables = {
            width: losses_by_pair(one for one in ended if one.width == width)
            for width in (widths[0], widths[-1])
        }
        lr, wd = best_pair(tables[widths[0]])
        if (lr, wd) not in complete_pairs(tables[widths[-1]]):
            pair = f"learning rate {value_words(lr)}, weight decay {value_words(wd)}"
            return (
                f"Not known yet: the best pair of width {widths[0]} ({pair}) has not run at width {widths[-1]} with "
                "every seed",
                [f"run {pair} at width {widths[-1]} with every seed"],
            )
    except ValueError:
        pass  # that is the reason
    return f"No verdict: {reason}", []


def _several(widths: Sequence[int]) -> str:
    return ", ".join(map(str, widths))
