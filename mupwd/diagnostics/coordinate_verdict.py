"""Fitted exponents against predicted ones: pass, fail, or how many more runs it takes to know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mupwd.diagnostics.coordinate_theory import TOLERANCE, Quantity
from mupwd.diagnostics.powers import fit_powers

Verdict = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True)
class Line:
    """One quantity of one use of a parameter, over all widths and seeds.

    Attributes:
      path: of the parameter; for attention's logits, the line of the program.
      use: which one, where a parameter has several ("lookup", "readout"); else empty.
      quantity: "initial gain", "change", or of attention's logits "initial size".
      values: `{width: one per seed}`, as measured, without units.
      predicted: exponents of width that theory allows, low and high.
      exponent: fitted; None where there is nothing to fit.
      interval: of the exponent, at the check's level; None as well.
      verdict: None where there is nothing to judge.
      note: why there is nothing to judge, or what else went wrong; else empty.
      more_seeds: for "undecided", further seeds at the same widths that should decide; None where none would.
      more_widths: likewise further widths, each as far from the last as those that ran.

    Example:
      >>> line = judged("up", "", "change", {64: (0.1,), 128: (0.21,), 256: (0.4,)}, (0.0, 0.0), level=0.95)
      >>> line.verdict, round(line.exponent, 2)
      ('fail', 1.0)
    """

    path: str
    use: str
    quantity: Quantity
    values: Mapping[int, tuple[float, ...]]
    predicted: tuple[float, float]
    exponent: float | None = None
    interval: tuple[float, float] | None = None
    verdict: Verdict | None = None
    note: str = ""
    more_seeds: int | None = None
    more_widths: int | None = None

    @property
    def name(self) -> str:
        """The path, with the use where there are several."""
        return f"{self.path} ({self.use})" if self.use else self.path

    @property
    def deviation(self) -> float:
        """How far the exponent lies outside what is predicted; negative below, 0 inside."""
        low, high = self.predicted
        if self.exponent is None or low <= self.exponent <= high:
            return 0.0
        return self.exponent - (high if self.exponent > high else low)


def judged(
    path: str,
    use: str,
    quantity: Quantity,
    values: Mapping[int, Sequence[float]],
    predicted: tuple[float, float],
    level: float = 0.95,
) -> Line:
    """Fits the exponent of width and compares its interval with the predicted one ± 1/4.

    Inside: pass. Wholly outside: fail. Else undecided, with the number of seeds or widths whose interval would
    be on one side, by the residuals so far. The interval is that of least squares over all runs: power laws
    hold up to corrections that fall with width, and these are what the tolerance is for.

    Args:
      path: of the parameter.
      use: which of its uses, or empty.
      quantity: which quantity it is.
      values: `{width: one per seed}`; three widths or more.
      predicted: exponents that theory allows, low and high.
      level: of the interval.

    Example:
      >>> values = {64: [1.0, 1.1], 128: [2.0, 2.1], 256: [4.1, 3.9]}
      >>> line = judged("up", "", "change", values, (0.0, 0.0))
      >>> line.verdict, round(line.exponent, 2)
      ('fail', 0.97)
    """
    kept = {width: tuple(float(value) for value in found) for width, found in values.items()}
    line = Line(path, use, quantity, kept, predicted)
    every = [value for found in kept.values() for value in found]
    if all(map(math.isnan, every)):
        return replace(line, note="in a branch that did not run")
    if broken := [width for width, found in kept.items() if not all(map(math.isfinite, found))]:
        return replace(line, verdict="fail", note=f"not finite at width {_listed(broken)}")
    if not any(every):
        return replace(line, note="starts at zero" if quantity == "initial gain" else "does not move")
    if zero := [width for width, found in kept.items() if not all(found)]:
        return replace(line, verdict="fail", note=f"zero at width {_listed(zero)}, and not at the others")
    columns = {"width": [width for width, found in kept.items() for _ in found]}
    fit = fit_powers(columns, every, level, pooled=True)
    found = fit.exponents["width"]
    low, high = predicted[0] - TOLERANCE, predicted[1] + TOLERANCE
    line = replace(line, exponent=found.value, interval=found.interval)
    assert found.interval is not None
    if low <= found.interval[0] and found.interval[1] <= high:
        return replace(line, verdict="pass")
    if found.interval[1] < low or found.interval[0] > high:
        return replace(line, verdict="fail")
    # New runs move the estimate as well: at 1/1.5 of the distance five sets of them in six decide.
    room = min(abs(found.value - low), abs(found.value - high)) / 1.5
    seeds = fit.seeds_needed("width", room) if room else None
    return replace(
        line,
        verdict="undecided",
        more_seeds=None if seeds is None else seeds - min(map(len, kept.values())),
        more_widths=fit.points_needed("width", room) if room else None,
    )


def _listed(widths: Sequence[int]) -> str:
    return ", ".join(map(str, widths))
