"""From runs at several widths to one judged line per parameter, use and quantity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mupwd.diagnostics.coordinate_runs import Run
from mupwd.diagnostics.coordinate_theory import Quantity, forward_factor, growth_rate, predicted
from mupwd.diagnostics.coordinate_uses import Kind, Uses
from mupwd.diagnostics.coordinate_verdict import Line, judged
from mupwd.diagnostics.instrument import UseStats
from mupwd.plan import Plan

EXCUSE = "an initial gain fails"
_MOST_EXCUSED = 0.6

Runs = Mapping[int, Sequence[Run]]  # by width, one per seed


class Divergence(NamedTuple):
    """A run whose loss was not finite.

    Attributes:
      width: of the model.
      seed: of the run.
      step: the first one whose loss was not finite.

    Example:
      >>> Divergence(width=256, seed=0, step=3).step
      3
    """

    width: int
    seed: int
    step: int


def divergences(runs: Runs) -> list[Divergence]:
    """Returns the runs whose loss was not finite, each with the first such step."""
    return [
        Divergence(width, seed, int(np.argmin(np.isfinite(run.losses))))
        for width, found in runs.items()
        for seed, run in enumerate(found)
        if not np.isfinite(run.losses).all()
    ]


def judged_lines(runs: Runs, plans: Mapping[int, Plan], uses: Mapping[int, Uses], level: float) -> list[Line]:
    """Returns a line per parameter, use and quantity, in the order of the parameters, then attention's logits.

    Changes are those of the last step at which every run was finite.

    Args:
      runs: `{width: [run of each seed]}`.
      plans: `{width: plan}`.
      uses: `{width: what the program does}`.
      level: of the intervals.
    """
    last = min([len(run.losses) - 1 for found in runs.values() for run in found])
    last = min([last, *(found.step - 1 for found in divergences(runs))])
    lines, kinds = [], next(iter(uses.values())).kinds
    for path in next(iter(plans.values())):
        for use, kind in enumerate(kinds.get(path, ())):
            label = _label(kinds[path], use)
            for quantity, measured in _measurements(kind, last):
                values = {
                    width: [
                        measured(run.stats[path][use]) * forward_factor(plans[width][path], kind)
                        for run in found
                    ]
                    for width, found in runs.items()
                }
                lines.append(
                    judged(path, label, quantity, values, predicted(plans, path, kind, quantity), level)
                )
    blamed = {line.path for line in lines if line.quantity == "initial gain" and line.verdict == "fail"}
    if blamed:
        lines = [_excused(line) if line.path not in blamed else line for line in lines]
    return lines + _logits(runs, uses, bool(blamed), level)


def _excused(line: Line) -> Line:
    """A change that a wrong initial gain elsewhere may explain.

    What grows where it should not makes the inputs of others alike, and so updates better aligned with them: by
    up to 1/2. A learning rate that is wrong by the width itself is not excused.
    """
    if line.verdict != "fail" or line.quantity != "change" or abs(line.deviation) > _MOST_EXCUSED:
        return line
    return replace(line, verdict="undecided", note=EXCUSE)


def _logits(runs: Runs, uses: Mapping[int, Uses], blamed: bool, level: float) -> list[Line]:
    """A line per product of activations; its size is other parameters' matter as well."""
    found = []
    for source in next(iter(runs.values()))[0].logits:
        sizes = {width: used.contracted[source] for width, used in uses.items()}
        first = next(iter(sizes.values()))
        growing = [i for i in range(len(first)) if any(size[i] != first[i] for size in sizes.values())]
        values = {
            width: [
                _over_layers([_over_layers(run.logits[source][i][0]) for i in growing]) for run in measured
            ]
            for width, measured in runs.items()
        }
        # Queries and keys are independent at the start: n products of size 1/n add up to 1/sqrt(n).
        exponent = -0.5 * growth_rate({width: size[growing[0]] for width, size in sizes.items()})
        line = judged(f"logits at {source}", "", "initial size", values, (exponent, exponent), level)
        if blamed and line.verdict != "pass":
            line = replace(line, verdict="undecided", note=EXCUSE)
        found.append(line)
    return found


def _label(kinds: Sequence[Kind], use: int) -> str:
    if len(kinds) == 1:
        return ""
    same = [i for i, kind in enumerate(kinds) if kind == kinds[use]]
    return kinds[use] if len(same) == 1 else f"{kinds[use]} {same.index(use) + 1}"


def _measurements(kind: Kind, last: int) -> Iterator[tuple[Quantity, Callable[[UseStats], float]]]:
    # What is added has no gain: at the start a bias is zero, and x + 0 is x.
    if kind != "addend":
        yield "initial gain", lambda stats: _over_layers(stats.gain[0])
    if last > 0:
        yield "change", lambda stats: _change(stats, kind, last)


def _change(stats: UseStats, kind: Kind, step: int) -> float:
    assert stats.change is not None
    change, size = np.asarray(stats.change[step]), np.asarray(stats.rms_in[step])
    if kind == "addend":
        return _over_layers(change)
    return _over_layers(np.divide(change, size, out=np.zeros_like(change), where=size != 0))


def _over_layers(values: ArrayLike) -> float:
    return math.sqrt(float(np.mean(np.square(np.asarray(values, np.float64)))))
