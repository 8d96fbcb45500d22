"""The curves of a scorecard as a picture file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mupwd.report.curves import Axis, Panel, axis_names, loss_range, panels
from mupwd.transfer import RecipeScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind people tell apart; the markers say the same without colour.
COLOURS = ("#E69F00", "#009E73", "#0072B2", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "D", "^", "v", "P")


def write_figure(file: Path, scores: Mapping[str, RecipeScore], title: str, decay: str = "coupled") -> None:
    """Draws loss against learning rate and against decay, one row per recipe and one curve per width.

    Args:
      file: .png, .svg or .pdf.
      scores: what `mupwd.transfer.scorecard` returns.
      title: of the picture.
      decay: the trials' convention, "coupled" or "independent".
    """
    draw_losses(file, panels(scores), loss_range(scores), axis_names(decay), title)


def draw_losses(
    file: Path, some: Sequence[Panel], limits: tuple[float, float], names: Mapping[Axis, str], title: str
) -> None:
    """Draws panels of loss curves, two in a row.

    Args:
      file: .png, .svg or .pdf.
      some: over the learning rate and over the decay, for each recipe.
      limits: of the losses.
      names: of the axes.
      title: of the picture.
    """
    from matplotlib.figure import Figure

    rows = len(some) // 2
    figure = Figure(figsize=(10, 0.7 + 3.3 * rows), layout="constrained", dpi=150)
    axes = figure.subplots(rows, 2, squeeze=False, sharey=True)
    for index, panel in enumerate(some):
        _draw(axes[index // 2][index % 2], panel, names[panel.axis], *limits)
    figure.suptitle(title, fontsize=12)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.savefig(file)


def _draw(axes: Axes, panel: Panel, name: str, low: float, high: float) -> None:
    top = high - 0.02 * (high - low)
    for index, line in enumerate(panel.lines):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        inside = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
        axes.plot(
            [x for x, _ in inside],
            [y for _, y in inside],
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.6,
            label=f"width {line.width}",
        )
        gone = [x for x, y in zip(line.x, line.y, strict=True) if y is None]
        axes.plot(gone, [top] * len(gone), color=colour, marker="x", linestyle="none", markersize=7)
        if line.optimum is not None:
            x, start, end, y = line.optimum
            axes.errorbar(
                x,
                y - 0.025 * (high - low),
                xerr=[[max(x - start, 0)], [max(end - x, 0)]],
                color=colour,
                marker="|",
                markersize=9,
                capsize=3,
                linewidth=1.4,
            )
    axes.axvline(panel.tuned, color="0.4", linestyle="--", linewidth=1, label="tuned at the base")
    every = [x for line in panel.lines for x in line.x]
    axes.set_xlim(min(every) - 0.3, max(every) + 0.3)
    axes.set_ylim(low - 0.04 * (high - low), high)
    axes.set_title(f"{panel.recipe}: loss against {name}", fontsize=10)
    ticks = sorted({round(x) for x in every})
    axes.set_xticks(ticks, [f"$2^{{{tick}}}$" for tick in ticks])
    axes.set_xlabel(f"{name} at the base")
    if panel.axis == "learning_rate":
        axes.set_ylabel("held-out loss (nats/token)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
