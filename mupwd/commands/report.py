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
  mupwd report runs/first --serve                         live, next to a sweep that runs; Ctrl-C ends it
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
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: report.html")
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="the panels as PNG and SVG, for papers, as well"
    )
    parser.add_argument(
        "--serve",
        action="store_true",
        help="instead of a file: the page on this machine only, up to date while runs write (extra mupwd[serve])",
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help="of --serve (default: 8642; 0: any that is free)"
    )


def run(args: argparse.Namespace) -> int:
    """Reads the directories and writes the page."""
    need("mupwd report", "flax", "matplotlib", "scipy")
    for flag, given in (("--out", args.out), ("--figures", args.figures)):
        if args.serve and given is not None:
            raise ValueError(f"{flag} writes files and --serve none; give one of them")
    if args.port is not None and not args.serve:
        raise ValueError("--port is of --serve: give that as well")
    if args.serve:
        from mupwd.report.page import report_data, report_page
        from mupwd.report.serve import PORT, serve

        serve(args.directories, report_page, report_data, port=PORT if args.port is None else args.port)
        return 0
    from mupwd.proxy.disk import write_atomic
    from mupwd.report.collect import collect
    from mupwd.report.figures import write_figures
    from mupwd.report.page import page_of
    from mupwd.report.payload import payload

    out = args.out or Path("report.html")
    found = payload(collect(args.directories))
    text = page_of(found)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, text)
    for one in found["verdicts"]:
        print(_printable(f"{one['label']}: {one['word']}"))
    for note in found["notes"]:
        print(_printable(f"note: {note}"))
    print(_printable(f"{len(found['runs'])} runs; written: {out} ({len(text.encode()) / 1e6:.1f} MB)"))
    if args.figures is not None:
        for file in write_figures(args.figures, found):
            print(_printable(f"  {file}"))
    return 0


def _printable(text: str) -> str:
    """Names come from files and may hold anything: what no terminal should be given is shown as its escape."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
