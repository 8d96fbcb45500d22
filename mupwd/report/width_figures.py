"""Pictures of singular values and gains against width: the values with their fitted lines, and the slopes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mupwd.report.figure import width_style
from mupwd.report.forest import Row, draw_forest, forest_keys
from mupwd.report.picture import add_legend, make_logarithmic, make_plain, new_figure, panel_grid, short
from mupwd.report.recipe_data import RecipeData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KINDS = 18  # of layers, in one picture


def slopes(data: RecipeData) -> Figure | None:
    """Returns the slope of every kind of layer with its interval, or None where none was measured.

    Args:
      data: of the recipe.
    """
    pair, lines = _lines(data)
    if not lines:
        return None
    figure = new_figure(8, 1.5 + 0.3 * len(lines))
    axes = figure.subplots()
    rows = [
        Row(
            one["slope"],
            None if one["interval"] is None or None in one["interval"] else one["interval"],
            one["predicted"] - one["tolerance"],
            one["predicted"] + one["tolerance"],
            one["mark"],
        )
        for one in lines
    ]
    draw_forest(axes, rows, [_name(one) for one in lines])
    axes.set_xlabel("power of the width ratio m; shaded: what the rule promises")
    unsettled = sorted({short(str(one["verdict"])) for one in lines if one["mark"] == "open"})
    add_legend(figure, forest_keys(rows, " or ".join(unsettled)))
    figure.suptitle(data.title(pair), fontsize=11)
    return figure


def values(data: RecipeData) -> Figure | None:
    """Returns the singular values and gains against width, both logarithmic, with the fitted lines, or None.

    Args:
      data: of the recipe.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    pair, every = _lines(data)
    lines = [one for one in every if any(_positive(some) for some in one["values"].values())][:_KINDS]
    if not lines:
        return None
    figure, panels = panel_grid(len(lines), 3.4, 2.6)
    # A check whose runs are gone has widths that the page knows nothing else of.
    known = sorted({*data.found["widths"], *(int(width) for one in lines for width in one["values"])})
    for line, axes in zip(lines, panels, strict=True):
        _draw(axes, line, known)
    fitted = Line2D([], [], color="0.15", linewidth=1.5, label="fitted slope")
    theory = Line2D([], [], color="0.5", linestyle="--", linewidth=1.3, label="theory")
    add_legend(figure, [fitted, theory, Patch(color="0.92", label="passes")])
    figure.suptitle(data.title(pair), fontsize=11)
    return figure


def _draw(axes: Axes, line: Mapping[str, Any], known: list[int]) -> None:
    some = {int(width): _positive(found) for width, found in line["values"].items()}
    widths = sorted(width for width, found in some.items() if found)
    for width in widths:
        style = {**width_style(known.index(width)), "linestyle": "none", "markersize": 5}
        axes.plot([width] * len(some[width]), some[width], zorder=3, **style)
    middles = {width: sum(map(math.log, some[width])) / len(some[width]) for width in widths}

    def power(slope: float, anchor: float) -> list[float]:
        return [math.exp(anchor + slope * math.log(width / widths[0])) for width in widths]

    first, predicted, tolerance = middles[widths[0]], line["predicted"], line["tolerance"]
    axes.plot(widths, power(predicted, first), "--", color="0.5", linewidth=1.3)
    band = power(predicted - tolerance, first), power(predicted + tolerance, first)
    axes.fill_between(widths, *band, color="0.92", linewidth=0, zorder=0)
    if line["slope"] is not None:
        # Through the middle of the logs, where a fitted line passes.
        ratio = sum(math.log(width / widths[0]) for width in widths) / len(widths)
        middle = sum(middles.values()) / len(widths)
        axes.plot(widths, power(line["slope"], middle - line["slope"] * ratio), color="0.15", linewidth=1.5)
    make_plain(axes)
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.minorticks_off()
    make_logarithmic(axes)
    axes.set_title(f"{_name(line)}\n{_slope(line)}", fontsize=9)
    axes.set_xlabel("width")
    axes.set_ylabel("gain" if line["quantity"] == "gain" else "σ₁ · √(fan_in / fan_out)", fontsize=9)


def _slope(line: Mapping[str, Any]) -> str:
    if line["slope"] is None:
        return short(str(line["verdict"]))
    low, high = line["interval"] or (None, None)
    interval = "" if low is None or high is None else f" [{_signed(low)}, {_signed(high)}]"
    return f"slope {_signed(line['slope'])}{interval}: {short(str(line['verdict']))}"


def _signed(value: float) -> str:
    """Two digits; what rounds to nothing has no minus."""
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")


def _name(line: Mapping[str, Any]) -> str:
    return ("gain of " if line["quantity"] == "gain" else "") + short(line["name"], most=44)


def _positive(some: list[float | None]) -> list[float]:
    return [one for one in some if one is not None and one > 0]


def _lines(data: RecipeData) -> tuple[str, list[dict[str, Any]]]:
    """The lines of the recipe at its pair, else at the first that has any, and which pair that is."""
    some = [one for one in data.found["slopes"] if one["recipe"] == data.recipe]
    chosen = next((one for one in some if one["pair"] == data.pair), some[0] if some else None)
    return ("", []) if chosen is None else (chosen["pair"], chosen["lines"])
