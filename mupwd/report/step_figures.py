"""Pictures of what changes with the step: losses, singular values and gains, the geometry of updates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mupwd.report.figure import MARKERS
from mupwd.report.picture import (
    NARROWEST,
    add_legend,
    can_be_logarithmic,
    loss_label,
    make_logarithmic,
    make_plain,
    new_figure,
    panel_grid,
    short,
    title_with_count,
)
from mupwd.report.recipe_data import RecipeData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKED = 12  # points of a line that have markers
_KINDS, _ROWS = 16, 10  # of layers, in one picture
_GEOMETRY = {
    "weight_rms": "RMS of the weights",
    "update_rms": "RMS of the update",
    "effective_learning_rate": "update over weights",
    "angle": "angle per step (rad)",
    "decay_timescale": "decay timescale (steps)",
    "stable_rank": "stable rank",
}


def loss_steps(data: RecipeData) -> Figure | None:
    """Returns losses against step, or None where no run logged any.

    Args:
      data: of the recipe.
    """
    from matplotlib.lines import Line2D

    curves = data.of_runs(data.found["curves"])
    if not curves:
        return None
    figure = new_figure(6, 4)
    axes = figure.subplots()
    for number, name, steps, values in curves:
        held_out = name == "eval/loss"
        more = (
            {"linestyle": ":", "markerfacecolor": "white", "markersize": 5, "zorder": 3} if held_out else {}
        )
        _line(axes, data.series(steps), data.series(values), {**data.style(number), **more})
    make_plain(axes)
    low, high = axes.dataLim.intervaly
    if not math.isfinite(low):
        axes.text(0.5, 0.5, "no finite loss", transform=axes.transAxes, ha="center", color="0.4")
    if low > 0 and high > 10 * low:
        make_logarithmic(axes)
    axes.set_xlabel("step")
    axes.set_ylabel(loss_label(data.found["unit"]))
    keys = data.keys()
    if any(one[1] == "eval/loss" for one in curves):
        keys.append(
            Line2D([], [], color="0.3", linestyle=":", marker="o", markerfacecolor="white", label="held out")
        )
    add_legend(figure, keys)
    figure.suptitle(data.title(), fontsize=11)
    return figure


def sigma_steps(data: RecipeData) -> Figure | None:
    """Returns singular values and gains against step with what theory promises, or None where no run logged any.

    Args:
      data: of the recipe.
    """
    from matplotlib.lines import Line2D

    some = [("sigma_1", name) for name in data.layers("matrix", "sigma_1")]
    some += [("gain", name) for name in data.layers("gain", "gain")]
    if not some:
        return None
    shown = some[:_KINDS]
    figure, panels = panel_grid(len(shown), 3.4, 2.6)
    promised = False
    for (quantity, layer), axes in zip(shown, panels, strict=True):
        spectra = data.found["spectra"]
        traces = spectra["traces"][layer]
        errors = {one[0]: data.series(one[2]) for one in data.of_runs(traces.get("err_1", []))}
        for number, steps, values in data.of_runs(traces[quantity]):
            factor = 1.0 if quantity == "gain" else data.factor(number, layer)
            if factor is not None:
                y, style = factor * data.series(values), data.style(number)
                _line(axes, data.series(steps), y, style)
                if quantity == "sigma_1" and number in errors:
                    _error_bars(axes, data.series(steps), y, errors[number], style["color"])
        for recipe, pair, number, steps, values in spectra["theory"].get(layer, []):
            factor = 1.0 if quantity == "gain" else data.factor(number, layer)
            if (recipe, pair) == (data.recipe, data.pair) and factor is not None:
                axes.plot(data.series(steps), factor * data.series(values), "--", color="0.35", linewidth=2)
                promised = True
        make_plain(axes)
        make_logarithmic(axes)
        axes.set_title(short(layer, most=42), fontsize=9)
        axes.set_xlabel("step")
        scaled = "σ₁ · √(fan_in / fan_out)" if data.is_normalised(layer) else "σ₁"
        axes.set_ylabel("gain" if quantity == "gain" else scaled, fontsize=9)
    keys = data.keys()
    if promised:
        keys.append(
            Line2D([], [], color="0.35", linestyle="--", linewidth=2, label="theory: as the narrowest width")
        )
    add_legend(figure, keys)
    figure.suptitle(title_with_count(data.title(), len(shown), len(some), "kinds of layers"), fontsize=11)
    return figure


def geometry_steps(data: RecipeData) -> Figure | None:
    """Returns the geometry of updates, a row for each kind of layers and a column for each quantity, or None.

    Args:
      data: of the recipe.
    """
    traces = data.found["spectra"]["traces"]
    logged = {
        (layer, quantity): data.of_runs(traces[layer][quantity])
        for quantity in _GEOMETRY
        for layer in data.layers("matrix", quantity)
    }
    # Without decay its timescale is infinite.
    found = {
        key: some
        for key, some in logged.items()
        if any(can_be_logarithmic(data.series(one[2])) for one in some)
    }
    kinds = [one["name"] for one in data.found["spectra"]["layers"]]
    every = [name for name in kinds if any(name == layer for layer, _ in found)]
    if not every:
        return None
    layers = every[:_ROWS]
    quantities = [one for one in _GEOMETRY if any((layer, one) in found for layer in layers)]
    figure = new_figure(max(0.6 + 2.2 * len(quantities), NARROWEST), 0.9 + 1.45 * len(layers))
    panels = figure.subplots(len(layers), len(quantities), squeeze=False, sharex=True)
    for layer, row in zip(layers, panels, strict=True):
        row[0].set_ylabel(short(layer.removeprefix("layers/*/").removesuffix("/kernel"), most=30), fontsize=9)
        for quantity, axes in zip(quantities, row, strict=True):
            if (layer, quantity) not in found:
                _make_empty(axes)
                continue
            for number, steps, values in found[layer, quantity]:
                _line(axes, data.series(steps), data.series(values), {**data.style(number), "markersize": 3})
            make_plain(axes)
            make_logarithmic(axes)
            axes.tick_params(labelsize=8)
    for quantity, column in zip(quantities, panels.T, strict=True):
        column[0].set_title(_GEOMETRY[quantity], fontsize=9)
        # Below the lowest that shows anything.
        lowest = next(axes for axes in column[::-1] if axes.lines)
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel("step", fontsize=9)
    add_legend(figure, data.keys())
    figure.suptitle(title_with_count(data.title(), len(layers), len(every), "kinds of layers"), fontsize=11)
    return figure


def _make_empty(axes: Axes) -> None:
    """Leaves nothing of a panel but its title and its row's name; its ticks are shared with others."""
    axes.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.text(0.5, 0.5, "–", transform=axes.transAxes, ha="center", va="center", color="0.5")


def _line(axes: Axes, steps: np.ndarray, values: np.ndarray, style: dict[str, Any]) -> None:
    """A line with about twelve markers; where a value is not finite it breaks, and a cross says so.

    Widths have theirs at different steps, so that curves which lie on each other are all seen.
    """
    finite = np.isfinite(values)
    every = max(1, math.ceil(len(steps) / _MARKED))
    axes.plot(
        steps,
        np.where(finite, values, np.nan),
        markevery=(MARKERS.index(style["marker"]) % every, every),
        **{"markersize": 3.5, **style},
    )
    if finite.any() and not finite.all():
        last = np.maximum.accumulate(np.where(finite, np.arange(len(values)), 0))
        heights = values[np.where(finite[last], last, np.argmax(finite))]
        axes.plot(steps[~finite], heights[~finite], "x", color=style["color"], markersize=6)


def _error_bars(axes: Axes, steps: np.ndarray, values: np.ndarray, errors: np.ndarray, colour: str) -> None:
    sizes = np.where(np.isfinite(errors * values), np.abs(errors * values), 0.0)
    kept = np.isfinite(values) & (sizes > 0)
    # A bar must not end at 0 or below, which has no place on a logarithmic axis.
    below = np.minimum(sizes, 0.9 * np.abs(np.where(kept, values, 1.0)))
    axes.errorbar(
        steps[kept], values[kept], yerr=[below[kept], sizes[kept]], fmt="none", ecolor=colour, elinewidth=0.8,
        capsize=1.5,
    )  # fmt: skip
