"""The pictures of docs/evidence.md."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from arms import OWN, Arm, Comparison
from collapse import collapse_power
from matplotlib.figure import Figure
from rules_study import RULES
from spectra import kinds, matching_power

from mupwd.files import write_atomically
from mupwd.report.figure import COLOURS, width_style
from mupwd.transfer.curve import learning_rate_curve, weight_decay_curve
from mupwd.transfer.optimum import Optimum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = {"p = 0": ":", "p = 1/2": "--", "p = 1": "-."}
_FRAME = (-1.2, 3.2)  # octaves


def draw_decays(file: Path, horizons: Mapping[str, Comparison]) -> Path:
    """Draws, per horizon, by how much the matrices' best decay grows with the width, next to what the rules say.

    Args:
      file: where to.
      horizons: by name.
    """
    figure = Figure(figsize=(5.2 * len(horizons), 4.2), layout="constrained", dpi=150)
    panels = np.atleast_1d(figure.subplots(1, len(horizons), sharey=True))
    for axes, (name, found) in zip(panels, horizons.items(), strict=True):
        _decays(axes, found)
        axes.set_ylim(*_FRAME)
        axes.set_title({"fixed": "equal tokens", "growing": "equal tokens per parameter"}[name], fontsize=10)
    panels[0].set_ylabel("decay of a matrix over the base's, octaves")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, frameon=False, loc="outside lower center", ncols=len(labels))
    return _write(figure, file)


def draw_losses(file: Path, arms: Mapping[str, Arm]) -> Path:
    """Draws loss against learning rate for the controls and the rule, and against decay for each power.

    Args:
      file: where to.
      arms: of one horizon, the controls that ran among them.
    """
    above = [*(name for name in arms if name not in RULES), OWN]
    columns = max(len(above), len(RULES))
    figure = Figure(figsize=(3.6 * columns, 6.4), layout="constrained", dpi=150)
    grid = figure.subplots(2, columns, squeeze=False)
    for axes, name in zip(grid[0], above, strict=False):
        _curves(axes, arms[name], "learning_rate")
        axes.set_title(name if name != OWN else "mupwd (p = 1/2)", fontsize=10)
    for axes, name in zip(grid[1], RULES, strict=False):
        _curves(axes, arms[name], "weight_decay")
        axes.set_title(f"decay of a matrix ∝ m^p, {name}", fontsize=10)
    for axes in grid[0][len(above) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel("held-out loss, nats per token")
    grid[0][0].legend(fontsize=8, frameon=False, title="width", title_fontsize=8)
    return _write(figure, file)


def _decays(axes: Axes, comparison: Comparison) -> None:
    own, rows, base = comparison.own, comparison.common, comparison.base
    widths = sorted(own.transferred)
    octaves = np.array([math.log2(width / base) for width in widths])
    for name, power in RULES.items():
        axes.plot(octaves, power * octaves, color="0.6", linestyle=_LINES[name], linewidth=1.2)
        # Beside the frame, where no curve ends upon it.
        axes.annotate(
            name,
            (octaves[-1], power * octaves[-1]),
            xytext=(16, 0),
            textcoords="offset points",
            fontsize=8,
            color="0.35",
            va="center",
            annotation_clip=False,
        )
    strong = comparison.strong[OWN].pair
    found = [matching_power(rows, kind, strong, base)[1] for kind in kinds(rows, "sigma_1")]
    for rank, matched in enumerate(found):
        at = [math.log2(width / base) for width in matched]
        label = "keeps σ_top, one line per kind of layer" if not rank else None
        axes.plot(
            at, np.log2(list(matched.values())), color=COLOURS[2], linewidth=0.9, alpha=0.7, label=label
        )
    power = collapse_power(rows, own.pair[0], base)
    if power is not None and power.interval is not None:
        low, high = (end * octaves for end in power.interval)
        axes.fill_between(octaves, low, high, color=COLOURS[1], alpha=0.25, linewidth=0)
        label = "lays losses on top of each other"
        axes.plot(octaves, power.value * octaves, color=COLOURS[1], linewidth=1.6, label=label)
    optima = _joint(own)
    if optima:
        start = optima[base].log2
        # Under p = 1/2 a decay of the base's label is sqrt(m) times as large at the matrix.
        y = [optimum.log2 - start + math.log2(width / base) / 2 for width, optimum in optima.items()]
        x = [math.log2(width / base) for width in optima]
        bars = np.array([_bar(optimum) for optimum in optima.values()]).T
        axes.errorbar(
            x,
            y,
            yerr=bars,
            color=COLOURS[4],
            marker="o",
            linestyle="",
            capsize=3,
            label="gives the lowest loss",
        )
        # Intervals of flat minima go far beyond the frame: an arrow says that they go on.
        bottom, top = _FRAME
        for place, at, (down, up) in zip(x, y, bars.T, strict=True):
            for end, edge, marker in ((at - down, bottom, "v"), (at + up, top, "^")):
                if not bottom <= end <= top:
                    axes.plot(place, edge, marker=marker, color=COLOURS[4], markersize=6, clip_on=False)
    axes.set_xlim(octaves[0] - 0.15, octaves[-1] + 0.1)
    axes.set_xticks(octaves, [f"{width}" for width in widths])
    axes.set_xlabel("width")
    _plain(axes)


def _joint(arm: Arm) -> dict[int, Optimum]:
    widths = arm.score.widths if arm.score else {}
    return {width: one.joint.weight_decay for width, one in widths.items() if one.joint is not None}


def _bar(optimum: Optimum) -> tuple[float, float]:
    low, high = optimum.interval or (optimum.log2, optimum.log2)
    return max(optimum.log2 - low, 0.0), max(high - optimum.log2, 0.0)


def _curves(axes: Axes, arm: Arm, what: str) -> None:
    for rank, (width, table) in enumerate(arm.tables.items()):
        # Lines through the transferred pair.
        curve = (
            learning_rate_curve(table, arm.pair[1])
            if what == "learning_rate"
            else weight_decay_curve(table, arm.pair[0])
        )
        finite = {value: loss for value, loss in curve.means.items() if math.isfinite(loss)}
        axes.plot(np.log2(list(finite)), list(finite.values()), label=str(width), **width_style(rank))
        low = min(finite, key=finite.__getitem__)
        axes.plot(math.log2(low), finite[low], marker="*", markersize=11, color=COLOURS[rank % len(COLOURS)])
    tuned = arm.pair[0 if what == "learning_rate" else 1]
    axes.axvline(math.log2(tuned), color="0.5", linestyle="--", linewidth=0.9)
    axes.set_xlabel(f"log2 of the base's {what.replace('_', ' ')}")
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _write(figure: Figure, file: Path) -> Path:
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    write_atomically(file, content.getvalue())
    return file
