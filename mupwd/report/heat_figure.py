"""Loss over learning rate and weight decay as a picture: a map for each width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mupwd.report.picture import add_legend, loss_label, panel_grid, power_label, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_TICKS, _NUMBERS = 12, 16  # of columns: more have fewer ticks, and no numbers
_FRAME = "#D55E00"
_GONE = {"x": ("0.6", "×"), "s": ("0.85", "·")}


def heat_figure(
    maps: Sequence[Mapping[str, Any]], span: float, names: Mapping[str, str], unit: str, recipe: str
) -> Figure:
    """Returns maps of one recipe.

    Args:
      maps: what `mupwd.report.heat.heatmaps` returns.
      span: of losses above the best of a width, which the colours show.
      names: of the axes.
      unit: of the losses; empty where unknown.
      recipe: its name.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Patch

    columns = max(len(one["rates"]) for one in maps)
    rows = max(len(one["decays"]) for one in maps)
    figure, panels = panel_grid(
        len(maps), min(6.0, max(2.8, 0.8 + 0.45 * columns)), min(5.0, max(2.2, 0.9 + 0.3 * rows))
    )
    colours = ScalarMappable(Normalize(0, span, clip=True), "cividis_r")
    for one, axes in zip(maps, panels, strict=True):
        _draw(axes, one, colours)
        axes.set_title(f"width {one['width']}", fontsize=10)
        axes.set_xlabel(names["learning_rate"], fontsize=9)
        axes.set_ylabel(names["weight_decay"], fontsize=9)
    bar = figure.colorbar(colours, ax=panels, extend="max", pad=0.01, fraction=0.03, aspect=30)
    bar.set_label(loss_label(unit).replace("loss", "above the best", 1), fontsize=9)
    cells = {cell for one in maps for row in one["losses"] for cell in row if isinstance(cell, str)}
    keys = [
        Patch(fill=False, edgecolor=_FRAME, linestyle="--", linewidth=2, label="tuned at the base"),
        Patch(fill=False, edgecolor=_FRAME, linewidth=2, label="best at this width"),
    ]
    words = {"x": "× diverged", "s": "· stopped early"}
    keys += [Patch(color=_GONE[cell][0], label=words[cell]) for cell in words if cell in cells]
    add_legend(figure, keys)
    figure.suptitle(short(recipe), fontsize=11)
    return figure


def _draw(axes: Axes, one: Mapping[str, Any], colours: ScalarMappable) -> None:
    from matplotlib.colors import to_rgba

    cells = {
        (x, y): cell for y, row in enumerate(one["losses"]) for x, cell in enumerate(row) if cell is not None
    }
    rates, decays = one["rates"], one["decays"]
    best = min((cell for cell in cells.values() if not isinstance(cell, str)), default=0.0)
    picture = np.ones((len(decays), len(rates), 4))
    crowded = len(rates) > 8
    for (x, y), cell in cells.items():
        gone = isinstance(cell, str)
        picture[y, x] = to_rgba(_GONE[cell][0]) if gone else colours.to_rgba(cell - best)
        if len(rates) <= _NUMBERS:
            axes.text(
                x, y, _GONE[cell][1] if gone else f"{cell:.{1 if crowded else 2}f}", ha="center", va="center",
                fontsize=6 if crowded else 7.5, color="black" if _lightness(picture[y, x]) > 0.5 else "white",
            )  # fmt: skip
    axes.imshow(picture, origin="lower", aspect="auto")
    # Frames leave the numbers free; that of the best lies inside the other's, whose edge it would hide.
    _frame(axes, one, one["tuned"], 0.0, "--")
    _frame(axes, one, one["best"], 0.1, "-")
    for axis, some in ((axes.xaxis, rates), (axes.yaxis, decays)):
        every = math.ceil(len(some) / _TICKS)
        axis.set_ticks(
            range(0, len(some), every), [power_label(value) for value in some[::every]], fontsize=8
        )
    axes.tick_params(length=0)
    axes.spines[:].set_color("0.8")


def _lightness(colour: np.ndarray) -> float:
    return float(colour[:3] @ (0.299, 0.587, 0.114))


def _frame(axes: Axes, one: Mapping[str, Any], pair: Sequence[float], inset: float, line: str) -> None:
    from matplotlib.patches import Rectangle

    rate, decay = pair
    if rate in one["rates"] and decay in one["decays"]:
        x, y, side = one["rates"].index(rate), one["decays"].index(decay), 1 - 2 * inset
        axes.add_patch(
            Rectangle(
                (x - 0.5 + inset, y - 0.5 + inset), side, side, fill=False, edgecolor=_FRAME, linewidth=2,
                linestyle=line, clip_on=False, zorder=3,
            )
        )  # fmt: skip
