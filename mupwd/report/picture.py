"""What all pictures share: names that fit, powers of two, bare axes, readable logarithmic ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mupwd.report.words import value_words

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NARROWEST = 6.0  # inches, into which a title fits
_COLUMNS = 3
_KEYS = 6  # of a legend, in a row


def short(text: str, most: int = 60) -> str:
    """Returns one line that fits, in which "$" is a dollar and starts no formula.

    Args:
      text: a name from a file, which may be anything.
      most: of characters.

    Example:
      >>> print(short("a$b"), short("x" * 99, most=11))
      a\\$b xxxx … xxxx
    """
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    half = (most - 3) // 2
    return (line if len(line) <= most else f"{line[:half]} … {line[-half:]}").replace("$", r"\$")


def power_label(value: float) -> str:
    """Returns a learning rate or a decay as a power of two, for a picture.

    Example:
      >>> power_label(0.25), power_label(0.0)
      ('$2^{-2}$', '0')
    """
    base, _, power = value_words(value).partition("^")
    return f"$2^{{{power}}}$" if power else base


def loss_label(unit: str) -> str:
    """Returns what an axis of losses is called; without a unit nobody knows it."""
    return f"loss ({unit})" if unit else "loss"


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty picture on white.

    Args:
      width: in inches.
      height: in inches.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def panel_grid(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Returns a picture of panels, three in a row.

    Args:
      count: of panels.
      width: of each, in inches.
      height: of each, in inches.
    """
    columns = min(_COLUMNS, count)
    rows = math.ceil(count / columns)
    figure = new_figure(max(width * columns + 0.4, NARROWEST), height * rows + 0.8)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for one in axes[count:]:
        one.set_visible(False)
    return figure, axes[:count]


def add_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Puts a legend below all panels, where it hides nothing.

    Args:
      figure: the picture.
      handles: each with its label.
    """
    if handles:
        columns = min(len(handles), _KEYS)
        figure.legend(
            handles=list(handles), loc="outside lower center", ncols=columns, frameon=False, fontsize=9
        )


def make_plain(axes: Axes) -> None:
    """Leaves a faint grid and two spines."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def make_logarithmic(axes: Axes) -> None:
    """Makes the upright axis logarithmic, with a few numbers however little or much it spans.

    Where nothing has a place on it the panel says so instead.

    Args:
      axes: with all that they will show.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    if not any(can_be_logarithmic(np.asarray(line.get_ydata(), float)) for line in axes.lines):
        axes.set_yticks([])
        for line in axes.lines:
            line.set_visible(False)
        axes.text(
            0.5, 0.5, "no finite value above 0", transform=axes.transAxes, ha="center", va="center",
            fontsize=8, color="0.4",
        )  # fmt: skip
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    if decades < 0.8:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,), numticks=8))
    axes.yaxis.set_major_formatter(lambda value, _: number_label(value))
    axes.yaxis.set_minor_formatter(lambda *_: "")


def can_be_logarithmic(values: np.ndarray) -> bool:
    """Whether a logarithmic axis has a place for any of the values."""
    return bool((np.isfinite(values) & (values > 0)).any())


def number_label(value: float) -> str:
    """Returns a number as it stands at a tick.

    Example:
      >>> number_label(0.0005), number_label(3e-6), number_label(1e6)
      ('0.0005', '$3·10^{-6}$', '$10^{6}$')
    """
    if value == 0 or 9.99e-5 < abs(value) < 1e5:
        return f"{value:.6g}"
    digits, _, power = f"{value:.3e}".partition("e")
    front = f"{float(digits):g}"
    return f"${'' if front == '1' else front + '·'}10^{{{int(power)}}}$"


def title_with_count(title: str, shown: int, every: int, what: str) -> str:
    """Returns a title that says how many there are where not all fit on a picture.

    Example:
      >>> title_with_count("mupwd", 16, 40, "layers")
      'mupwd (the first 16 of 40 layers)'
    """
    return title if shown == every else f"{title} (the first {shown} of {every} {what})"
