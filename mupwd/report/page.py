"""Reports as one self-contained page: nothing is loaded from anywhere."""

from __future__ import annotations

import html
import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from mupwd.report.collect import Group, collect
from mupwd.report.payload import as_text, payload

# In the order in which they are read; each panel registers itself with the first one.
_SCRIPTS = ("base", "verdict", "loss", "spectra", "widths", "checks", "manifest", "main")


def report_page(directories: Iterable[Path]) -> str:
    """Returns the page about directories.

    Args:
      directories: of runs, sweeps, studies or checks.

    Raises:
      ValueError: one holds none of these.
      OSError: one cannot be read.
    """
    return page(collect(directories))


def report_data(directories: Iterable[Path]) -> str:
    """Returns what the page's `mupwdUpdate` takes, as JSON: the page's data as they are now.

    Args:
      directories: as for `report_page`.

    Raises:
      ValueError: one holds none of these.
      OSError: one cannot be read.
    """
    return as_text(payload(collect(directories)))


def page(groups: Sequence[Group]) -> str:
    """Returns the page.

    Args:
      groups: what `collect` returns.
    """
    return page_of(payload(groups))


def page_of(found: Mapping[str, Any]) -> str:
    """Returns the page that draws a payload.

    Args:
      found: what `payload` returns.
    """
    static = importlib.resources.files("mupwd.report") / "static"

    def text(name: str) -> str:
        return (static / name).read_text(encoding="utf-8")

    return Template(text("page.html")).substitute(
        title=html.escape(found["title"]),
        style=text("page.css"),
        # JSON that cannot end the script element it stands in.
        data=as_text(found).replace("<", "\\u003c"),
        plotly=text("plotly-cartesian.min.js"),
        script="\n".join(text(f"{name}.js") for name in _SCRIPTS),
    )
