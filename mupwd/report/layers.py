"""What a log says of each layer: its quantities against step, its kind, its size, and in which order names stand."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import numpy as np

from mupwd.diagnostics.matrices import layout_of
from mupwd.plan.layers import starred
from mupwd.report.runs import Run

GEOMETRY = ("weight_rms", "update_rms", "effective_learning_rate", "angle", "decay_timescale")
_NAME = re.compile(r"(spectral|update)/(.+)/([^/]+)", re.DOTALL)
_COPY = re.compile(r"(.*)\[[\d,]+\]", re.DOTALL)

Series = tuple[np.ndarray, np.ndarray]
"""Steps and values."""


def by_layer(run: Run) -> dict[tuple[str, str], dict[str, Series]]:
    """Returns `{("matrix" or "gain", layer): {quantity: series}}`.

    Args:
      run: with its log.
    """
    found: dict[tuple[str, str], dict[str, Series]] = defaultdict(dict)
    for name, series in run.log.series.items():
        if name.startswith("gain/"):
            found["gain", name[len("gain/") :]]["gain"] = series
        elif match := _NAME.fullmatch(name):
            prefix = "update_" if match[1] == "update" and match[3] not in GEOMETRY else ""
            found["matrix", match[2]][prefix + match[3]] = series
    return dict(found)


def kind_of(layer: str) -> str:
    """Returns the name that layers of one kind share.

    Example:
      >>> kind_of("layers/3/mlp/up/kernel"), kind_of("layers/mlp/up[3]")
      ('layers/*/mlp/up/kernel', 'layers/mlp/up[*]')
    """
    copy = _COPY.fullmatch(layer)
    return starred(copy[1]) + "[*]" if copy else starred(layer)


def path_of(layer: str) -> str:
    """Returns the parameter that a layer is, or is a copy in."""
    copy = _COPY.fullmatch(layer)
    return copy[1] if copy else layer


def size_of(run: Run, layer: str) -> tuple[int, int] | None:
    """Returns fan-in and fan-out of a matrix; None where no plan says them.

    Args:
      run: with its plan.
      layer: its name.
    """
    path = path_of(layer)
    if run.plan is None or path not in run.plan:
        return None
    layout = layout_of(run.plan[path])
    return None if layout is None else (layout.size(layout.fan_in), layout.size(layout.fan_out))


def natural(name: str) -> list[Any]:
    """Returns what sorts names by the numbers in them, which may have any number of digits.

    Example:
      >>> sorted(["b/10", "b/9", "a"], key=natural)
      ['a', 'b/9', 'b/10']
    """
    parts = re.split(r"(\d+)", name)
    return [(0, len(part), part) if part.isdigit() else (1, 0, part) for part in parts]
