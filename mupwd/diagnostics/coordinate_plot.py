"""A coordinate check as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mupwd.diagnostics.coordinate_theory import TOLERANCE, Quantity
from mupwd.diagnostics.coordinate_verdict import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mupwd.diagnostics.coordinate_result import CoordinateCheck

# Okabe and Ito's colours, which colour-blind people tell apart; markers say the same without colour.
_FAILS = ("#D55E00", "#CC79A7", "#E69F00", "#009E73")
_MARKERS = ("o", "s", "D", "^")
_PASSES, _UNDECIDED, _BAND = "0.6", "#0072B2", "0.92"


def draw(file: str | os.PathLike[str], checks: Sequence[CoordinateCheck]) -> None:
    """Draws checks below each other; see `CoordinateCheck.plot`."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a picture needs matplotlib, which comes with the proxy's extra: pip install 'mupwd[proxy]'"
        ) from error
    figure = Figure(figsize=(12, 0.3 + 3.7 * len(checks)), layout="constrained", dpi=150)
    axes = figure.subplots(len(checks), 3, squeeze=False, sharey="col")
    for row, check in zip(axes, checks, strict=True):
        _quantity(row[0], check, "initial gain")
        _quantity(row[1], check, "change")
        _outputs(row[2], check)
    for shared in axes[0][:2]:  # after all rows are drawn, which share it
        low, high = shared.get_ylim()
        shared.set_ylim(min(low, -0.6), max(high, 0.6))
    figure.savefig(file)


def _quantity(axes: Axes, check: CoordinateCheck, quantity: Quantity) -> None:
    widths = list(check.plans)
    lines = [line for line in check.lines if line.quantity == quantity and line.exponent is not None]
    x = np.log2(np.array(widths) / widths[0])
    axes.fill_between(x, -TOLERANCE * x, TOLERANCE * x, color=_BAND, zorder=0, label="predicted ± 1/4")
    failed = [line for line in lines if line.verdict == "fail"]
    for line in sorted(lines, key=lambda line: line.verdict == "fail"):
        y = [np.mean(np.log2(line.values[width])) for width in widths]
        relative = np.array(y) - y[0] - np.clip(line.exponent or 0.0, *line.predicted) * x
        axes.plot(x, relative, **_style(line, failed))
    for name, colour in (("passes", _PASSES), ("undecided", _UNDECIDED)):
        number = sum(line.verdict == ("pass" if name == "passes" else name) for line in lines)
        if number:
            axes.plot([], [], color=colour, linewidth=1, label=f"{name} ({number})")
    plan = check.plans[widths[0]]
    axes.set_title(f"{plan.recipe}: {quantity}, over what is predicted", fontsize=10)
    axes.set_ylabel("log2, narrowest = 0")
    _width_axis(axes, x, widths)
    axes.legend(fontsize=7, frameon=False, loc="upper left")


def _style(line: Line, failed: Sequence[Line]) -> dict[str, Any]:
    if line.verdict != "fail":
        return {"color": _UNDECIDED if line.verdict == "undecided" else _PASSES, "linewidth": 1}
    number = failed.index(line)
    if number >= len(_FAILS):
        label = {"label": f"fails as well ({len(failed) - number})"} if number == len(_FAILS) else {}
        return {"color": _FAILS[0], "linewidth": 1, **label}
    return {"color": _FAILS[number], "marker": _MARKERS[number], "markersize": 4, "label": line.name}


def _outputs(axes: Axes, check: CoordinateCheck) -> None:
    widths = list(check.plans)
    x = np.log2(np.array(widths) / widths[0])
    for step in range(check.steps + 1):
        sizes = [np.mean(np.log2(np.maximum(check.outputs[width][:, step], 1e-30))) for width in widths]
        shade = 0.85 - 0.7 * step / check.steps
        label = f"step {step}" if step in (0, check.steps) else None
        axes.plot(x, sizes, color=str(shade), marker=".", linewidth=1.2, label=label)
    axes.set_title(f"{check.plans[widths[0]].recipe}: size of the model's outputs", fontsize=10)
    axes.set_ylabel("log2 of their RMS")
    _width_axis(axes, x, widths)
    axes.legend(fontsize=7, frameon=False)


def _width_axis(axes: Axes, x: np.ndarray, widths: Sequence[int]) -> None:
    axes.set_xticks(x, [str(width) for width in widths])
    axes.set_xlabel("width")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
