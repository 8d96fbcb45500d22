"""The steady-state check and the measured exponents as picture files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mupwd.proxy.disk import written_aside
from mupwd.report.figure import COLOURS, MARKERS
from mupwd.transfer.exponent import RULES, ExponentFit
from mupwd.transfer.steady import SteadyCheck, SteadyLine

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_QUANTITIES = {"sigma": "top singular value × sqrt(fan_in / fan_out)", "gain": "sublayer gain"}


def write_steady_figure(file: Path, check: SteadyCheck) -> None:
    """Draws what was measured against width, relative to the narrowest: singular values above, gains below.

    The grey wedge is what passes: slopes within the tolerance of 0.

    Args:
      file: .png, .svg or .pdf.
      check: what `steady_state_check` returned.

    Raises:
      OSError: the disk is full.
    """
    from matplotlib.figure import Figure

    quantities = [q for q in _QUANTITIES if any(line.quantity == q for line in check.lines)]
    figure = Figure(figsize=(8.0, 0.9 + 3.0 * len(quantities)), layout="constrained", dpi=150)
    axes = figure.subplots(len(quantities), squeeze=False, sharex=True)[:, 0]
    for axis, quantity in zip(axes, quantities, strict=True):
        lines = [line for line in check.lines if line.quantity == quantity]
        _draw(axis, lines, check.tolerance * (2 if quantity == "gain" else 1))
        axis.set_ylabel(f"{_QUANTITIES[quantity]}\nover that at the narrowest", fontsize=8)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    axes[0].set_title(f"{check.recipe}: {check.verdict}", fontsize=11)
    axes[-1].set_xlabel("width")
    _save(figure, file)


def write_exponent_figure(file: Path, fit: ExponentFit) -> None:
    """Draws the decay rule that each kind of layer asks for, with its interval, beside those of the literature.

    Hollow where sigma did not follow `sqrt(lr / wd)`, so that the rule comes from the measured powers.

    Args:
      file: .png, .svg or .pdf.
      fit: what `fit_exponent` returned.

    Raises:
      OSError: the disk is full.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.6 + 0.35 * len(fit.modules)), layout="constrained", dpi=150)
    axis = figure.subplots()
    for name, power in RULES.items():
        axis.axvline(power, color="0.6", linewidth=1, linestyle="--")
        axis.annotate(
            f"{name} ({power:g})", (power, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom",
            fontsize=8, color="0.35",
        )  # fmt: skip
    for index, one in enumerate(fit.modules):
        decay = one.decay
        if decay is None:
            continue
        low, high = decay.interval or (decay.value, decay.value)
        axis.errorbar(
            decay.value,
            index,
            xerr=[[decay.value - low], [high - decay.value]],
            fmt="o",
            color=COLOURS[2],
            markerfacecolor=COLOURS[2] if one.theory_holds else "white",
            capsize=3,
        )
    axis.set_yticks(range(len(fit.modules)), [one.name for one in fit.modules], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(
        "p of the weight decay m^p that keeps sigma the same at all widths"
        + ("" if fit.modules else " (the runs were too short)")
    )
    axis.spines[["top", "right"]].set_visible(False)
    _save(figure, file)


def _draw(axis: Axes, lines: Sequence[SteadyLine], tolerance: float) -> None:
    from matplotlib.ticker import LogLocator

    for index, line in enumerate(lines):
        widths = [width for width, values in sorted(line.values.items()) if values and min(values) > 0]
        if not widths:
            continue
        means = {width: _mean(line.values[width]) for width in widths}
        first = means[widths[0]]
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        axis.plot(
            widths, [means[width] / first for width in widths], color=colour, marker=marker, markersize=4,
            linewidth=1.5, linestyle="-" if index < len(COLOURS) else ":", label=line.name,
        )  # fmt: skip
        for width in widths:
            axis.plot(
                [width] * len(line.values[width]), [value / first for value in line.values[width]], ".",
                color=colour, markersize=3, alpha=0.6,
            )  # fmt: skip
    widths = sorted({width for line in lines for width in line.values})
    ratios = [width / widths[0] for width in widths]
    axis.fill_between(
        widths,
        [r**-tolerance for r in ratios],
        [r**tolerance for r in ratios],
        color="0.92",
        zorder=0,
    )
    axis.set_xscale("log", base=2)
    axis.set_yscale("log", base=2)
    axis.set_xticks(widths, [str(width) for width in widths])
    axis.minorticks_off()
    # Quarters of an octave: an octave is more than most of these pictures span.
    axis.yaxis.set_major_locator(LogLocator(2.0, subs=[2 ** (i / 4) for i in range(4)]))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
    axis.spines[["top", "right"]].set_visible(False)


def _mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _save(figure: Figure, file: Path) -> None:
    with written_aside(file) as drawn:
        figure.savefig(drawn)
