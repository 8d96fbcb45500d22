"""The steady-state check as text: a table, and what to do about each line that did not pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mupwd.transfer.steady import SteadyCheck, SteadyLine

_HEADINGS = {"sigma": "sigma_1 * sqrt(fan_in / fan_out)", "gain": "gain of a sublayer"}


def steady_words(check: SteadyCheck) -> str:
    """Returns the check as lines of text.

    Args:
      check: what `steady_state_check` returned.
    """
    widths = sorted({width for line in check.lines for width in line.values})
    name = max([len(line.name) for line in check.lines] + [len(one) for one in _HEADINGS.values()]) + 2
    text = [
        f"steady state of recipe {check.recipe}: slopes in log2 of the width ratio, promised 0 ± "
        f"{check.tolerance:g} (gains ± {2 * check.tolerance:g}); {100 * check.level:g} % intervals"
    ]
    for quantity, heading in _HEADINGS.items():
        lines = [line for line in check.lines if line.quantity == quantity]
        if not lines:
            continue
        columns = "".join(f"{width:>8}" for width in widths)
        text += ["", f"{heading:<{name}}{columns}   slope        interval  verdict"]
        for line in lines:
            means = "".join(f"{_mean(line.values.get(width, ())):>8.3g}" for width in widths)
            text.append(f"{line.name:<{name}}{means}{_slope(line)}  {line.verdict}")
    said = [words for line in check.lines if (words := line_words(line))]
    said += [f"diverged: {run}" for run in check.diverged]
    return "\n".join([*text, *(["", *said] if said else []), "", f"verdict: {check.verdict}"])


def line_words(line: SteadyLine) -> str:
    """Returns what to do about a line that did not pass; empty for one that did.

    Args:
      line: of a check.
    """
    if line.note:
        return f"{line.name}: {line.note}"
    if line.verdict == "fail":
        assert line.slope is not None
        way = "grows" if line.slope > 0 else "shrinks"
        words = f"{line.name}: {line.quantity} {way} as width^{line.slope:.2f}"
        if line.implied_decay is not None:
            words += (
                f" under a weight decay ∝ width^{line.decay:.2f}; a slope of 0 asks for width^"
                f"{line.implied_decay:.2f} (or the decay that reaches it is not the plan's)"
            )
        return words
    if line.verdict == "too short":
        assert line.elapsed is not None
        assert line.steps is not None
        shortest = min(line.elapsed, key=line.elapsed.__getitem__)
        steps = ", ".join(
            f"{steps:,} at width {width}" if steps else f"a weight decay above 0 at width {width}"
            for width, steps in sorted(line.steps.items())
        )
        left = math.exp(-2 * line.elapsed[shortest])
        return (
            f"{line.name}: too short to judge: {line.elapsed[shortest]:.2f} decay timescales at width {shortest}, "
            f"so that {100 * left:.2g} % of sigma^2 at the start is left; steps needed: {steps}"
        )
    if line.verdict == "undecided":
        seeds = None if line.more_seeds is None else f"{line.more_seeds} more seed(s) at these widths"
        widths = None if line.more_widths is None else f"{line.more_widths} more width(s), wider ones"
        more = " or ".join(filter(None, (seeds, widths)))
        return f"{line.name}: undecided; about {more or 'more than 64 seeds or widths'} should decide"
    return ""


def _mean(values: tuple[float, ...]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values)) if values and min(values) > 0 else math.nan


def _slope(line: SteadyLine) -> str:
    if line.slope is None:
        return f"{'':>24}"
    interval = "" if line.interval is None else f"[{line.interval[0]:+.2f}, {line.interval[1]:+.2f}]"
    return f"{line.slope:>+8.2f}{interval:>16}"
