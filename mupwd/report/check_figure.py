"""The coordinate check as a picture: exponents of width against what theory allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mupwd.diagnostics.coordinate_theory import TOLERANCE
from mupwd.report.forest import Row, draw_forest, forest_keys
from mupwd.report.picture import add_legend, new_figure, short
from mupwd.report.words import Mark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_JUDGED: dict[str, Mark] = {"pass": "good", "fail": "bad", "undecided": "open"}
_ROWS = 60  # of parameters, in one picture


def coordinates(check: Mapping[str, Any]) -> Figure | None:
    """Returns the exponents, a column for each quantity, or None where the check has none that can be drawn.

    Args:
      check: one of the page's checks.
    """
    lines = check["found"].get("lines")
    # A file may hold anything.
    rows = {key: row for key, row in map(_row, lines if isinstance(lines, list) else []) if row is not None}
    names = list(dict.fromkeys(name for name, _ in rows))
    quantities = list(dict.fromkeys(quantity for _, quantity in rows))
    if not rows:
        return None
    # Those that fail are what a reader looks for.
    if len(names) > _ROWS:
        bad = {name for (name, _), row in rows.items() if row.mark != "good"}
        names = sorted(names, key=lambda name: name not in bad)[:_ROWS]
    figure = new_figure(3 + 3 * len(quantities), 1.5 + 0.22 * len(names))
    panels = figure.subplots(1, len(quantities), squeeze=False, sharey=True)[0]
    for quantity, axes in zip(quantities, panels, strict=True):
        draw_forest(
            axes, [rows.get((name, quantity)) for name in names], [short(name, most=44) for name in names]
        )
        axes.set_title(short(quantity), fontsize=10)
        axes.set_xlabel("power of the width; shaded: theory ± 1/4", fontsize=9)
    add_legend(figure, forest_keys(list(rows.values()), "undecided"))
    title = f"{short(check['group'])}: {short(str(check['found'].get('verdict')))}"
    figure.suptitle(title, fontsize=11)
    return figure


def _row(line: Any) -> tuple[tuple[str, str], Row | None]:
    """The name and the quantity of a line, and what is drawn of it; None where it is none of a check's."""
    if not isinstance(line, dict) or line.get("verdict") not in _JUDGED:
        return ("", ""), None
    use = f" ({line['use']})" if line.get("use") else ""
    key = (f"{line.get('path')}{use}", str(line.get("quantity")))
    predicted, interval = _numbers(line.get("predicted"), 2), _numbers(line.get("interval"), 2)
    if predicted is None:
        return key, None
    value = _numbers([line.get("exponent")], 1)
    low, high = predicted[0] - TOLERANCE, predicted[1] + TOLERANCE
    return key, Row(value[0] if value else None, interval, low, high, _JUDGED[line["verdict"]])


def _numbers(some: Any, count: int) -> list[float] | None:
    good = isinstance(some, list) and len(some) == count and all(isinstance(one, int | float) for one in some)
    return some if good else None
