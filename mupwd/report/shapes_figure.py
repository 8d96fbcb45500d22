"""The largest singular values at the last observation as a picture, all widths over each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mupwd.report.picture import add_legend, make_logarithmic, make_plain, panel_grid, short, title_with_count
from mupwd.report.recipe_data import RecipeData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LAYERS = 16  # in one picture


def shapes(data: RecipeData) -> Figure | None:
    """Returns the spectra of the layers of which several singular values are known, or None.

    Args:
      data: of the recipe.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    every = data.found["spectra"]["shapes"]
    known = [name for name, some in every.items() if data.of_runs(some)]
    if not known:
        return None
    layers = known[:_LAYERS]
    figure, panels = panel_grid(len(layers), 3.4, 2.6)
    edged, last = False, 0
    for layer, axes in zip(layers, panels, strict=True):
        for number, steps, values, count, edges in data.of_runs(every[layer]):
            factor, style = data.factor(number, layer), data.style(number)
            if factor is None:
                continue
            last = max(last, int(data.series(steps)[-1]))
            axes.plot(range(1, count + 1), factor * data.series(values)[-count:], **style)
            edge = 0.0 if edges is None else factor * float(data.series(edges)[-1])
            if 0 < edge < math.inf:
                edged = True
                axes.axhline(edge, color=style["color"], linestyle="--", linewidth=0.8)
        make_plain(axes)
        make_logarithmic(axes)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(short(layer, most=42), fontsize=9)
        axes.set_xlabel("rank of the singular value")
        axes.set_ylabel("σ · √(fan_in / fan_out)" if data.is_normalised(layer) else "σ", fontsize=9)
    keys = data.keys()
    if edged:
        keys.append(Line2D([], [], color="0.3", linestyle="--", linewidth=0.8, label="Marchenko–Pastur edge"))
    add_legend(figure, keys)
    title = f"{data.title()}, step {last}"
    figure.suptitle(title_with_count(title, len(layers), len(known), "layers"), fontsize=11)
    return figure
