"""Slopes with their intervals, a row for each layer, and the band in which each has to lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mupwd.report.picture import make_plain
from mupwd.report.words import Mark

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_BAND = "0.92"
_MARKS: dict[Mark, tuple[str, str]] = {
    "good": ("#00714f", "o"),
    "bad": ("#b3380a", "X"),
    "open": ("#7d5800", "D"),
}


@dataclass(frozen=True)
class Row:
    """One slope.

    Attributes:
      value: None where it could not be measured.
      interval: None where it is not known.
      low: end of the band.
      high: end of the band.
      mark: whether the slope is good news.
    """

    value: float | None
    interval: Sequence[float] | None
    low: float
    high: float
    mark: Mark


def draw_forest(axes: Axes, rows: Sequence[Row | None], names: Sequence[str]) -> None:
    """Draws one row for each name, from the top.

    Args:
      axes: empty ones.
      rows: None where there is nothing to show.
      names: of the rows.
    """
    for y, row in enumerate(rows):
        if row is None:
            continue
        axes.fill_between([row.low, row.high], y - 0.45, y + 0.45, color=_BAND, linewidth=0)
        if row.value is None:
            continue
        colour, marker = _MARKS[row.mark]
        axes.plot([row.value], [y], marker, color=colour, markersize=5)
        if row.interval is not None:
            axes.plot(row.interval, [y, y], color=colour, linewidth=1.6)
    axes.axvline(0, color="0.4", linewidth=1, zorder=1)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    make_plain(axes)
    axes.grid(visible=False, axis="y")


def forest_keys(rows: Sequence[Row | None], open_word: str) -> list[Artist]:
    """Returns what the legend says of the marks that are there.

    Args:
      rows: all that are drawn.
      open_word: what a slope is called that neither passes nor fails.
    """
    from matplotlib.lines import Line2D

    words: dict[Mark, str] = {"good": "pass", "bad": "fail", "open": open_word}
    there = {row.mark for row in rows if row is not None and row.value is not None}
    return [
        Line2D([], [], color=_MARKS[mark][0], marker=_MARKS[mark][1], linestyle="none", label=word)
        for mark, word in words.items()
        if mark in there
    ]
