"""The curves of a scorecard as a picture: loss against learning rate and against decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mupwd.report.curves import Axis, Panel, axis_names, loss_range, panels
from mupwd.report.picture import add_legend, loss_label, make_plain, new_figure, short
from mupwd.report.words import UNIT
from mupwd.transfer import RecipeScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people tell apart; the markers say the same without colour.
COLOURS = ("#E69F00", "#009E73", "#0072B2", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "D", "^", "v", "P")
_TICKS = 12
_BESIDE = 20  # characters of a name that stands on one line with more


def width_style(rank: int) -> dict[str, Any]:
    """Returns the line and the marker of a width; 36 widths look different.

    Args:
      rank: of the width among all, from 0.

    Example:
      >>> [width_style(rank)["marker"] for rank in (0, 5, 6, 7)]
      ['o', 'P', 's', 'D']
    """
    return {
        "color": COLOURS[rank % len(COLOURS)],
        "marker": MARKERS[(rank + rank // len(COLOURS)) % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.3,
    }


def write_figure(file: Path, scores: Mapping[str, RecipeScore], title: str, decay: str = "coupled") -> None:
    """Draws loss against learning rate and against decay, one row per recipe and one curve per width.

    Args:
      file: .png, .svg or .pdf.
      scores: what `mupwd.transfer.scorecard` returns.
      title: of the picture.
      decay: the trials' convention, "coupled" or "independent".
    """
    widths = sorted({width for score in scores.values() for width in score.widths})
    figure = loss_figure(panels(scores), loss_range(scores), axis_names(decay), title, UNIT.strip(), widths)
    figure.savefig(file)


def loss_figure(
    some: Sequence[Panel],
    limits: tuple[float, float],
    names: Mapping[Axis, str],
    title: str,
    unit: str,
    widths: Sequence[int],
) -> Figure:
    """Returns panels of loss curves, two in a row.

    Args:
      some: over the learning rate and over the decay, for each recipe.
      limits: of the losses.
      names: of the axes.
      title: of the picture.
      unit: of the losses; empty where unknown.
      widths: all of them, narrowest first: their places are their colours.
    """
    from matplotlib.lines import Line2D

    rows = len(some) // 2
    figure = new_figure(10, 0.7 + 3.3 * rows)
    axes = figure.subplots(rows, 2, squeeze=False, sharey=True)
    for index, panel in enumerate(some):
        _draw(axes[index // 2][index % 2], panel, names[panel.axis], limits, widths)
    for row in axes:
        row[0].set_ylabel(loss_label(unit))
    figure.suptitle(short(title, most=110), fontsize=12)
    drawn = {line.width for panel in some for line in panel.lines}
    keys = [
        Line2D([], [], label=f"width {width}", **width_style(rank))
        for rank, width in enumerate(widths)
        if width in drawn
    ]
    if any(panel.tuned is not None for panel in some):
        keys.append(Line2D([], [], color="0.4", linestyle="--", linewidth=1, label="tuned at the base"))
    if any(y is None for panel in some for line in panel.lines for y in line.y):
        keys.append(
            Line2D([], [], color="0.3", marker="x", linestyle="none", label="diverged or stopped early")
        )
    add_legend(figure, keys)
    return figure


def _draw(axes: Axes, panel: Panel, name: str, limits: tuple[float, float], widths: Sequence[int]) -> None:
    low, high = limits
    every = [x for line in panel.lines for x in line.x]
    axes.set_ylim(low - 0.04 * (high - low), high)
    recipe = short(panel.recipe, most=50)
    between = ": " if len(recipe) <= _BESIDE else "\n"
    axes.set_title(f"{recipe}{between}loss against {name}", fontsize=10)
    axes.set_xlabel(f"{name} at the base")
    make_plain(axes)
    if not every:
        axes.set_xticks([])
        axes.text(
            0.5, 0.5, "only 0 ran, which has no logarithm", transform=axes.transAxes, ha="center", color="0.4"
        )
        return
    for line in panel.lines:
        rank = widths.index(line.width)
        style = {**width_style(rank), "markersize": 5, "linewidth": 1.6}
        inside = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
        axes.plot([x for x, _ in inside], [y for _, y in inside], **style)
        gone = [x for x, y in zip(line.x, line.y, strict=True) if y is None]
        # Below each other, so that no width's cross hides another's.
        top = high - (0.02 + 0.035 * (rank % 8)) * (high - low)
        axes.plot(gone, [top] * len(gone), color=style["color"], marker="x", linestyle="none", markersize=6)
        if line.optimum is not None:
            x, start, end, y = line.optimum
            axes.errorbar(
                x,
                y - 0.025 * (high - low),
                xerr=[[max(x - start, 0)], [max(end - x, 0)]],
                color=style["color"],
                marker="|",
                markersize=9,
                capsize=3,
                linewidth=1.4,
            )
    if panel.tuned is not None:
        axes.axvline(panel.tuned, color="0.4", linestyle="--", linewidth=1)
    else:
        axes.text(0.02, 0.03, "tuned: 0, off this axis", transform=axes.transAxes, fontsize=9, color="0.4")
    axes.set_xlim(min(every) - 0.3, max(every) + 0.3)
    whole = sorted({round(x) for x in every})
    ticks = whole[:: -(-len(whole) // _TICKS)]
    axes.set_xticks(ticks, [f"$2^{{{tick}}}$" for tick in ticks])
