"""The panels of the page as pictures for papers: PNG and SVG, on white."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mupwd.proxy.disk import written_aside
from mupwd.report.curves import Line, Panel
from mupwd.report.figure import COLOURS, MARKERS, draw_losses
from mupwd.report.pack import Reference, unpack

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KINDS = 16  # of layers, in one picture
_BAND, _MARKS = "0.92", {"good": ("#00714f", "o"), "bad": ("#b3380a", "x"), "open": ("#7d5800", "D")}


def write_figures(directory: Path, found: Mapping[str, Any]) -> list[Path]:
    """Draws the panels that have data, each as .png and .svg, and returns the files.

    Args:
      directory: where to; created where it does not exist.
      found: what `mupwd.report.payload.payload` returns.

    Raises:
      OSError: a file could not be written; a full disk is said so.
    """
    directory.mkdir(parents=True, exist_ok=True)
    drawing = _Drawing(found)
    files: list[Path] = []

    def save(name: str, draw: Callable[[Path], None]) -> None:
        for kind in ("png", "svg"):
            file = directory / f"{name}.{kind}"
            with written_aside(file) as drawn:
                draw(drawn)
            files.append(file)

    for number, group in enumerate(found["loss"]):
        some = [Panel(**{**one, "lines": [Line(**line) for line in one["lines"]]}) for one in group["panels"]]
        suffix = f"-{number + 1}" if len(found["loss"]) > 1 else ""
        title = _short(found["title"])
        save(
            f"loss{suffix}",
            lambda file, s=some, g=group, t=title: draw_losses(file, s, g["range"], g["axes"], t),
        )
    for number, recipe in enumerate(found["recipes"]):
        slug = f"{number + 1}-{re.sub(r'[^A-Za-z0-9]+', '-', recipe)[:40].strip('-')}"
        for name, make in drawing.panels.items():
            figure = make(recipe)
            if figure is not None:
                save(f"{name}-{slug}", figure.savefig)
    return files


class _Drawing:
    """The panels of one recipe each, or None where they have nothing to show."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found, self._floats = found, unpack(found["numbers"])
        self.panels: dict[str, Callable[[str], Figure | None]] = {
            "sigma": self.sigma,
            "widths": self.widths,
            "shapes": self.shapes,
            "geometry": self.geometry,
        }

    def sigma(self, recipe: str) -> Figure | None:
        return self._against_step(recipe, "sigma_1", "σ₁ · √(fan_in / fan_out)", normalised=True)

    def geometry(self, recipe: str) -> Figure | None:
        return self._against_step(recipe, "stable_rank", "stable rank", normalised=False)

    def widths(self, recipe: str) -> Figure | None:
        """Slopes over the widths with their intervals."""
        pair = self._pair(recipe)
        some = [one for one in self._found["slopes"] if one["recipe"] == recipe]
        chosen = next((one for one in some if one["pair"] == pair), some[0] if some else None)
        if chosen is None:
            return None
        lines = chosen["lines"]
        figure = _figure(8, 1.2 + 0.3 * len(lines))
        axes = figure.subplots()
        for y, line in enumerate(lines):
            axes.fill_between(
                [-line["tolerance"], line["tolerance"]], y - 0.45, y + 0.45, color=_BAND, linewidth=0
            )
            if line["slope"] is None:
                continue
            colour, marker = _MARKS[line["mark"]]
            axes.plot([line["slope"]], [y], marker, color=colour)
            if line["interval"] is not None:
                axes.plot(line["interval"], [y, y], color=colour, linewidth=1.6)
        axes.axvline(0, color="0.4", linewidth=1)
        axes.set_yticks(range(len(lines)), [f"{_short(one['name'])}: {one['verdict']}" for one in lines])
        axes.invert_yaxis()
        axes.set_xlabel("power of the width ratio m; shaded: what the rule promises")
        axes.set_title(_short(recipe), fontsize=11)
        _plain(axes)
        return figure

    def shapes(self, recipe: str) -> Figure | None:
        """The largest singular values at the last observation."""
        layers = [name for name, some in self._found["spectra"]["shapes"].items() if self._of(recipe, some)]
        grid = self._grid(recipe, layers[:_KINDS])
        if grid is None:
            return None
        figure, panels = grid
        for layer, axes in panels:
            for number, _, values, count, edges in self._of(recipe, self._found["spectra"]["shapes"][layer]):
                run, factor = self._found["runs"][number], self._factor(number, layer)
                if factor is None:
                    continue
                axes.plot(
                    range(1, count + 1), factor * self._series(values)[-count:], **self._style(run["width"])
                )
                if edges is not None:
                    edge = factor * self._series(edges)[-1]
                    axes.axhline(
                        edge, color=self._style(run["width"])["color"], linestyle="--", linewidth=0.8
                    )
            _logarithmic(axes)
            axes.set_xlabel("rank")
        return figure

    def _against_step(self, recipe: str, quantity: str, name: str, normalised: bool) -> Figure | None:
        spectra = self._found["spectra"]
        kinds = [one["name"] for one in spectra["layers"]]
        layers = [one for one in kinds if self._of(recipe, spectra["traces"].get(one, {}).get(quantity, []))]
        grid = self._grid(recipe, layers[:_KINDS])
        if grid is None:
            return None
        figure, panels = grid
        for layer, axes in panels:
            for number, steps, values in self._of(recipe, spectra["traces"][layer][quantity]):
                factor = self._factor(number, layer) if normalised else 1.0
                if factor is not None:
                    style = {**self._style(self._found["runs"][number]["width"]), "markersize": 0}
                    axes.plot(self._series(steps), factor * self._series(values), **style)
            _logarithmic(axes)
            axes.set_xlabel("step")
        figure.supylabel(name, fontsize=10)
        return figure

    def _grid(self, recipe: str, layers: Sequence[str]) -> tuple[Figure, list[tuple[str, Axes]]] | None:
        """A panel per layer, and a legend of the widths."""
        if not layers:
            return None
        columns = min(3, len(layers))
        rows = math.ceil(len(layers) / columns)
        figure = _figure(3.4 * columns + 0.4, 2.6 * rows + 0.8)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for one in axes[len(layers) :]:
            one.set_visible(False)
        for layer, one in zip(layers, axes, strict=False):
            one.set_title(_short(layer), fontsize=9)
            _plain(one)
        widths = sorted({run["width"] for run in self._found["runs"] if run["recipe"] == recipe})
        handles = [axes[0].plot([], [], label=f"width {width}", **self._style(width))[0] for width in widths]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(widths), 6), frameon=False)
        figure.suptitle(_short(recipe), fontsize=11)
        return figure, list(zip(layers, axes, strict=False))

    def _of(self, recipe: str, some: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """The entries of the recipe's runs at its tuned pair."""
        runs, pair = self._found["runs"], self._pair(recipe)
        return [one for one in some if runs[one[0]]["recipe"] == recipe and runs[one[0]]["pair"] == pair]

    def _pair(self, recipe: str) -> str:
        """The tuned pair where it has runs with logs, else that of the most widths."""
        observed = {one["run"] for one in self._found["spectra"]["health"]}
        widths: dict[str, set[int]] = {}
        for number, run in enumerate(self._found["runs"]):
            if run["recipe"] == recipe and number in observed:
                widths.setdefault(run["pair"], set()).add(run["width"])
        tuned = next(
            (group["pairs"][recipe] for group in self._found["loss"] if recipe in group["pairs"]), ""
        )
        if tuned in widths or not widths:
            return tuned
        return max(widths, key=lambda pair: len(widths[pair]))

    def _factor(self, number: int, layer: str) -> float | None:
        return self._found["spectra"]["factors"].get(str(number), {}).get(layer)

    def _series(self, reference: Reference) -> np.ndarray:
        start, count = reference
        return self._floats[start : start + count]

    def _style(self, width: int) -> dict[str, Any]:
        rank = self._found["widths"].index(width)
        return {
            "color": COLOURS[rank % len(COLOURS)],
            "marker": MARKERS[rank % len(MARKERS)],
            "markersize": 4,
            "linewidth": 1.3,
        }


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import LogFormatter

    axes.set_yscale("log")
    for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        which(LogFormatter(minor_thresholds=(2, 0.4)))


def _short(text: str) -> str:
    """One line that fits, in which "$" is a dollar."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return (line if len(line) <= 60 else f"{line[:28]} … {line[-28:]}").replace("$", r"\$")
