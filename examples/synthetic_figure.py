"""The figure of `synthetic.py`: sigma against sqrt(lr / wd) and width, the spectra, and e against the data."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from synthetic_network import MATRICES

from mupwd.files import write_atomically

# Okabe and Ito's colours, which colour-blind people tell apart; the markers say the same without colour.
STYLES = (("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "D"), ("#CC79A7", "^"), ("#D55E00", "v"))
LINES = {MATRICES[0]: "-", MATRICES[1]: "--"}


def draw(groups: dict[str, Any], fits: dict[str, Any], file: Path, timescale: int) -> Path:
    """Draws what was measured.

    Args:
      groups: `{"setting/width": measurements}`.
      fits: `{setting: {matrix: exponents}}`.
      file: where to.
      timescale: 1 / (lr * wd) of the runs that are compared across widths.
    """
    figure = Figure(figsize=(10, 8), layout="constrained", dpi=150)
    panels = figure.subplots(2, 2)
    names = [name for name in ("random", "rank_1", "rank_0.5", "rank_0") if name in fits] or list(fits)[:5]
    shapes = "rank_0.5" if "rank_0.5" in fits else names[0]
    _against_ratio(panels[0][0], groups, shapes)
    _against_width(panels[0][1], groups, fits, names, timescale)
    spectra = [name for name in ("rank_1", "rank_0.5") if name in fits] or [shapes]
    _spectra(panels[1][0], groups, spectra, timescale)
    _exponents(panels[1][1], fits)
    for axes, corner in zip(
        panels.flat, ("upper left", "upper left", "upper right", "lower left"), strict=True
    ):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8.5, frameon=False, loc=corner)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(file, content.getvalue())
    return file


def _of(groups: dict[str, Any], name: str) -> list[dict[str, np.ndarray]]:
    return [
        {key: np.array(value) for key, value in group.items()}
        for key, group in sorted(groups.items(), key=lambda item: item[1]["width"][0])
        if key.split("/")[0] == name
    ]


def _middle(group: dict[str, np.ndarray], timescale: int) -> np.ndarray:
    """The runs of the pair in the middle: the commonest ratio lr / wd at this timescale."""
    ratio = group["learning_rate"] / group["weight_decay"]
    here = np.isclose(group["learning_rate"] * group["weight_decay"] * timescale, 1, rtol=1e-4)
    return here & np.isclose(ratio, np.median(ratio), rtol=1e-4)


def _against_ratio(axes: Axes, groups: dict[str, Any], name: str) -> None:
    for (colour, marker), group in zip(STYLES, _of(groups, name), strict=False):
        width = int(group["width"][0])
        x = np.sqrt(group["learning_rate"] / group["weight_decay"])
        for matrix in range(len(MATRICES)):
            axes.plot(
                x,
                group["sigma"][:, matrix, 0],
                marker,
                color=colour,
                fillstyle=("full", "none")[matrix],
                markersize=5,
                label=f"width {width}" if matrix == 0 else None,
            )
        ends = np.array([x.min(), x.max()])
        middle = np.exp(np.mean(np.log(group["sigma"][:, :, 0])) - np.mean(np.log(x)))
        axes.plot(ends, middle * ends, "--", color=colour, linewidth=1)
    axes.plot([], [], "--", color="0.3", linewidth=1, label="slope 1")
    axes.plot([], [], "o", color="0.3", fillstyle="none", markersize=5, label=f"hollow: {MATRICES[1]}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set(xlabel="sqrt(lr / wd)", ylabel="top singular value σ₁")
    _title(axes, "a", f"σ₁ against sqrt(lr/wd), {_label(name)}")


def _against_width(
    axes: Axes, groups: dict[str, Any], fits: dict[str, Any], names: list[str], timescale: int
) -> None:
    widths: list[int] = []
    for (colour, marker), name in zip(STYLES, names, strict=False):
        parts = _of(groups, name)
        widths = [int(group["width"][0]) for group in parts]
        scaled = [
            (group["sigma"][:, :, 0] / np.sqrt(group["learning_rate"] / group["weight_decay"])[:, None])[
                _middle(group, timescale)
            ].mean(0)
            for group in parts
        ]
        for matrix, key in enumerate(MATRICES):
            axes.plot(
                widths,
                [s[matrix] for s in scaled],
                LINES[key],
                color=colour,
                marker=marker,
                fillstyle=("full", "none")[matrix],
                markersize=6,
                linewidth=1.2,
                label=f"{_label(name)}: e = {fits[name][key]['e'][0]:.2f}" if matrix == 0 else None,
            )
    ends = np.array([widths[0], widths[-1]], dtype=float)
    low = 0.5 * min(np.asarray(line.get_ydata(), float)[0] for line in axes.get_lines())
    for exponent in (0.5, 0.75, 1.0):
        line = low * (ends / ends[0]) ** exponent
        axes.plot(ends, line, ":", color="0.35", linewidth=1.2)
        axes.annotate(
            f"{exponent:g}", (ends[1], line[1]), xytext=(4, 0), textcoords="offset points", fontsize=8
        )
    axes.plot([], [], ":", color="0.35", linewidth=1.2, label="slopes 0.5, 0.75, 1")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set(xlabel="width", ylabel="σ₁ / sqrt(lr / wd)")
    axes.set_xticks(widths, [str(width) for width in widths])
    _title(axes, "b", "σ₁ against width")


def _spectra(axes: Axes, groups: dict[str, Any], names: list[str], timescale: int) -> None:
    for line, name in zip(("-", "--"), names, strict=False):
        for (colour, _), group in zip(STYLES, _of(groups, name), strict=False):
            width = int(group["width"][0])
            x = (np.arange(width) + 0.5) / width
            for run in group["sigma"][:, 0]:
                axes.plot(x, run / run[0], line, color=colour, linewidth=0.4, alpha=0.3)
            middle = group["sigma"][_middle(group, timescale), 0].mean(0)
            label = f"width {width}" if line == "-" else None
            axes.plot(x, middle / middle[0], line, color=colour, linewidth=1.8, label=label)
        axes.plot([], [], line, color="0.3", linewidth=1.8, label=_label(name))
    axes.set(xlabel="index / width", ylabel="σᵢ / σ₁", ylim=(0, 1.02))
    _title(axes, "c", f"spectra of {MATRICES[0]}; thin: other lr, wd")


def _exponents(axes: Axes, fits: dict[str, Any]) -> None:
    ranks = [name for name in fits if name.startswith("rank_")]
    others = [name for name in fits if name not in ranks]
    x = [float(name.split("_")[1]) for name in ranks]
    for matrix, key in enumerate(MATRICES):
        colour, marker = STYLES[matrix]
        values = np.array([fits[name][key]["e"] for name in ranks]).reshape(-1, 3)
        _errorbar(axes, np.array(x) + 0.01 * (2 * matrix - 1), values, colour, marker, key)
        beyond = np.array([fits[name][key]["e"] for name in others]).reshape(-1, 3)
        at = 1.25 + 0.16 * np.arange(len(others)) + 0.02 * (2 * matrix - 1)
        _errorbar(axes, at, beyond, colour, marker, None)
    # An interval wider than the panel runs out of it, so that the others can be read.
    every = [fit[key]["e"][0] for fit in fits.values() for key in MATRICES]
    axes.set_ylim(min(every) - 0.12, max(every) + 0.08)
    line = np.array([0.0, 1.0])
    axes.plot(line, 1 - line / 2, "--", color="0.3", linewidth=1, label="1 − s/2")
    axes.axhline(0.75, color="0.6", linewidth=0.8, linestyle=":")
    ticks = [0, 0.25, 0.5, 0.75, 1.0]
    at = 1.25 + 0.16 * np.arange(len(others))
    axes.set_xticks([*ticks, *at], [*map("{:g}".format, ticks), *others])
    for tick in axes.get_xticklabels()[len(ticks) :]:
        tick.set(rotation=60, horizontalalignment="right", fontsize=8, rotation_mode="anchor")
    axes.set(xlabel="s: rank of the targets ∝ width**s; then other settings", ylabel="e")
    _title(axes, "d", "the exponent of width")


def _errorbar(
    axes: Axes, x: np.ndarray, values: np.ndarray, colour: str, marker: str, label: str | None
) -> None:
    spread = np.nan_to_num([values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]])
    axes.errorbar(
        x,
        values[:, 0],
        yerr=spread,
        fmt=marker,
        color=colour,
        markersize=5,
        capsize=2,
        linewidth=1.2,
        label=label,
    )


def _title(axes: Axes, letter: str, text: str) -> None:
    axes.set_title(f"({letter}) {text}", fontsize=11, loc="left")


def _label(name: str) -> str:
    return {
        "random": "random gradients",
        "rank_0": "rank 8",
        "rank_1": "rank ∝ width",
        "rank_0.5": "rank ∝ sqrt(width)",
    }.get(name, name)
