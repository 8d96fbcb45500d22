"""What a coordinate check found."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mupwd.diagnostics.coordinate_lines import Divergence, Runs, divergences, judged_lines
from mupwd.diagnostics.coordinate_uses import Uses
from mupwd.diagnostics.coordinate_verdict import Line, Verdict
from mupwd.plan import Plan


@dataclass(frozen=True, eq=False, repr=False)
class CoordinateCheck:
    """The result of `mupwd.coordinate_check`; print it.

    Attributes:
      lines: one per parameter, use and quantity.
      plans: `{width: plan}` that the runs used.
      seeds: per width.
      steps: of each run.
      level: of the intervals.
      losses: `{width: [seeds, steps + 1]}`.
      outputs: `{width: [seeds, steps + 1]}`, RMS of what the model returns.
      diverged: runs whose loss was not finite.
      unused: parameters that the model does not use.

    Example:
      >>> grows = Line("up", "", "change", {}, predicted=(0.0, 0.0), exponent=0.5, interval=(0.4, 0.6), verdict="fail")
      >>> found = CoordinateCheck((grows,), {}, seeds=2, steps=8, level=0.95, losses={}, outputs={})
      >>> found.verdict, found.failed, found["up"][0].deviation
      ('fail', ['up'], 0.5)
    """

    lines: tuple[Line, ...]
    plans: Mapping[int, Plan]
    seeds: int
    steps: int
    level: float
    losses: Mapping[int, np.ndarray]
    outputs: Mapping[int, np.ndarray]
    diverged: tuple[Divergence, ...] = ()
    unused: tuple[str, ...] = ()

    def __repr__(self) -> str:
        widths = ", ".join(map(str, self.plans))
        return f"CoordinateCheck({self.verdict}, widths {widths}, {len(self.lines)} lines)"

    def __str__(self) -> str:
        from mupwd.diagnostics.coordinate_table import report

        return report(self)

    def __getitem__(self, path: str) -> tuple[Line, ...]:
        found = tuple(line for line in self.lines if line.path == path)
        if not found:
            raise KeyError(f"{path}: the check has no line of that name; it has {', '.join(self._paths())}")
        return found

    @property
    def verdict(self) -> Verdict:
        """One failure fails; else one undecided line leaves it undecided."""
        verdicts = {line.verdict for line in self.lines}
        if self.diverged or "fail" in verdicts:
            return "fail"
        # Without a single step that was judged nothing passed.
        return "undecided" if "undecided" in verdicts or "pass" not in verdicts else "pass"

    @property
    def failed(self) -> list[str]:
        """Paths of the parameters with a quantity that fails."""
        return self._paths("fail")

    @property
    def undecided(self) -> list[str]:
        """Paths of the parameters with a quantity that is undecided, and none that fails."""
        return [path for path in self._paths("undecided") if path not in self.failed]

    def plot(self, file: str | os.PathLike[str], *others: CoordinateCheck) -> None:
        """Draws every quantity against width, relative to what theory predicts.

        Args:
          file: .png, .svg or .pdf.
          *others: checks to draw below it, to compare.

        Raises:
          ModuleNotFoundError: matplotlib is missing; it comes with `pip install 'mupwd[proxy]'`.

        Example:
          >>> import pathlib, tempfile, numpy as np, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> family = mupwd.family_from_shapes(shapes(64), shapes(128), axes={"up": "in out"})
          >>> plans = {width: family.plan(shapes(width)) for width in (64, 128, 256)}
          >>> from mupwd.diagnostics.coordinate_verdict import Line
          >>> values, once = {64: (0.1,), 128: (0.11,), 256: (0.1,)}, dict.fromkeys((64, 128, 256), np.ones((1, 5)))
          >>> line = Line("up", "", "change", values, (0.0, 0.0), 0.0, (-0.1, 0.1), "pass")
          >>> check = CoordinateCheck((line,), plans, seeds=1, steps=4, level=0.95, losses=once, outputs=once)
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     check.plot(f"{folder}/coordinates.svg")
          ...     len(list(pathlib.Path(folder).iterdir()))
          1
        """
        from mupwd.diagnostics.coordinate_plot import draw

        draw(file, (self, *others))

    def _paths(self, verdict: Verdict | None = None) -> list[str]:
        wanted = (line.path for line in self.lines if verdict in (None, line.verdict))
        return list(dict.fromkeys(wanted))


def judged(
    runs: Runs, plans: Mapping[int, Plan], uses: Mapping[int, Uses], level: float = 0.95
) -> CoordinateCheck:
    """Judges runs that were made.

    Args:
      runs: `{width: [run of each seed]}`.
      plans: `{width: plan}`.
      uses: `{width: what the program does}`.
      level: of the intervals.
    """
    first = next(iter(runs.values()))
    kinds = next(iter(uses.values())).kinds
    return CoordinateCheck(
        lines=tuple(judged_lines(runs, plans, uses, level)),
        plans=plans,
        seeds=len(first),
        steps=len(first[0].losses) - 1,
        level=level,
        losses={width: np.stack([run.losses for run in found]) for width, found in runs.items()},
        outputs={width: np.stack([run.outputs for run in found]) for width, found in runs.items()},
        diverged=tuple(divergences(runs)),
        unused=tuple(path for path in next(iter(plans.values())) if not kinds.get(path)),
    )
