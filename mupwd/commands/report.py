"""`mupwd report`: one page about any number of runs, sweeps and checks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mupwd.commands.shared import need

_EPILOG = """\
what RUN may be:
  a training run     a directory with metrics.jsonl (docs/metrics.md)
  a sweep or study   what mupwd sweep or mupwd demo wrote: trials/
  a check            what mupwd check --out DIR wrote: coordinates.json, steady.json, exponent.json
Runs, sweeps and checks that are still running, or were killed, are shown as far as they are.

the page:
  1 verdict: which recipe transfers, and what to do next    6 geometry of updates
  2 loss against learning rate and weight decay             7 coordinate check
  3 top singular values against step                        8 health of the estimates
  4 singular values and gains against width                 9 manifest: how to repeat it
  5 shapes of spectra

It needs no network and can be sent as it is. Widths, recipes and layers are chosen once for all panels; the choice
is in the address, so that a view can be shared.

examples:
  mupwd report runs/first --out report.html               a sweep
  mupwd report runs/a runs/b runs/check                   two runs and a check on one page
  mupwd report runs/first --figures figures               the panels as pictures as well
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "report",
        help="one page about runs, sweeps and checks, to look at and to send",
        description="Makes one self-contained page about any number of runs, sweeps and checks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("directories", type=Path, nargs="+", metavar="RUN", help="directories; see below")
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html"
    )
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="the panels as PNG and SVG, for papers, as well"
    )


def run(args: argparse.Namespace) -> int:
    """Reads the directories and writes the page."""
    need("mupwd report", "flax", "matplotlib", "scipy")
    from mupwd.proxy.disk import write_atomic
    from mupwd.report.collect import collect
    from mupwd.report.figures import write_figures
    from mupwd.report.page import page_of
    from mupwd.report.payload import payload

    found = payload(collect(args.directories))
    text = page_of(found)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(args.out, text)
    for one in found["verdicts"]:
        print(f"{one['label']}: {one['word']}")
    for note in found["notes"]:
        print(f"note: {note}")
    print(f"{len(found['runs'])} runs; written: {args.out} ({len(text.encode()) / 1e6:.1f} MB)")
    if args.figures is not None:
        for file in write_figures(args.figures, found):
            print(f"  {file}")
    return 0
