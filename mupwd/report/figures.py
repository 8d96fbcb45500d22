"""The panels of the page as pictures for papers: PNG and SVG, on white."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mupwd.proxy.disk import written_aside
from mupwd.report.check_figure import coordinates
from mupwd.report.curves import Line, Panel
from mupwd.report.figure import loss_figure
from mupwd.report.heat_figure import heat_figure
from mupwd.report.pack import unpack
from mupwd.report.recipe_data import RecipeData
from mupwd.report.shapes_figure import shapes
from mupwd.report.step_figures import geometry_steps, loss_steps, sigma_steps
from mupwd.report.width_figures import slopes, values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = 16  # of loss curves, in one picture: two for each recipe
_OF_RECIPES: dict[str, Callable[[RecipeData], Figure | None]] = {
    "steps": loss_steps,
    "sigma": sigma_steps,
    "slopes": slopes,
    "widths": values,
    "shapes": shapes,
    "geometry": geometry_steps,
}


def write_figures(directory: Path, found: Mapping[str, Any]) -> list[Path]:
    """Draws the panels that have data, each as .png and .svg, and returns the files.

    Args:
      directory: where to; created where it does not exist.
      found: what `mupwd.report.payload.payload` returns.

    Raises:
      OSError: a file could not be written; a full disk is said so.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for name, figure in draw_figures(found):
        for kind in ("png", "svg"):
            file = directory / f"{name}.{kind}"
            with written_aside(file) as drawn:
                figure.savefig(drawn)
            files.append(file)
    return files


def draw_figures(found: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    """Yields the name and the picture of every panel that has data, one after the other.

    Args:
      found: what `mupwd.report.payload.payload` returns.
    """
    # Pictures of any height are no pictures: many recipes get several.
    pages = [
        (group, group["panels"][start : start + _PANELS])
        for group in found["loss"]
        for start in range(0, len(group["panels"]), _PANELS)
    ]
    for number, (group, panels) in enumerate(pages):
        some = [Panel(**{**one, "lines": [Line(**line) for line in one["lines"]]}) for one in panels]
        yield (
            f"loss{_suffix(number, pages)}",
            loss_figure(some, group["range"], group["axes"], found["title"], found["unit"], found["widths"]),
        )
    floats = unpack(found["numbers"])
    for number, recipe in enumerate(found["recipes"]):
        slug = f"{number + 1}-{re.sub(r'[^A-Za-z0-9]+', '-', recipe)[:40].strip('-')}".rstrip("-")
        for group in found["loss"]:
            if maps := [one for one in group["heat"] if one["recipe"] == recipe]:
                low, high = group["range"]
                yield f"heat-{slug}", heat_figure(maps, high - low, group["axes"], found["unit"], recipe)
        data = RecipeData(found, floats, recipe)
        for name, draw in _OF_RECIPES.items():
            figure = draw(data)
            if figure is not None:
                yield f"{name}-{slug}", figure
    checks = [one for one in found["checks"] if one["what"] == "coordinates"]
    for number, check in enumerate(checks):
        figure = coordinates(check)
        if figure is not None:
            yield f"coordinates{_suffix(number, checks)}", figure


def _suffix(number: int, some: list[Any]) -> str:
    return f"-{number + 1}" if len(some) > 1 else ""
