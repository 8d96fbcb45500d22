"""Writes docs/evidence.md and its pictures from the committed results.

    python scripts/evidence/page.py             writes the page
    python scripts/evidence/page.py --check     exit code 1 if the page is not what the results say

Every number of the page is computed here from docs/evidence/cpu; the sentences around them are page.md in this folder,
with a name in double braces wherever a number or a table belongs.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures import draw_decays, draw_losses
from numbers_of import comparisons, numbers
from results import Row, read_results

from mupwd.files import write_atomically

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "evidence" / "cpu"
PAGE = ROOT / "docs" / "evidence.md"
IMAGES = ROOT / "docs" / "images"
_NAME = re.compile(r"\{\{(\w+)\}\}")


def page() -> str:
    """Returns the page's text.

    Raises:
      KeyError: the sentences ask for a number that is not computed.
    """
    found = found_numbers()
    text = (Path(__file__).parent / "page.md").read_text(encoding="utf-8")
    if missing := sorted({name for name in _NAME.findall(text) if name not in found}):
        raise KeyError(
            f"page.md asks for {', '.join(missing)}; numbers_of.py computes {', '.join(sorted(found))}"
        )
    return _NAME.sub(lambda match: found[match[1]], text)


@functools.cache
def found_numbers() -> Mapping[str, str]:
    """Returns every number and table by its name; their intervals take a while."""
    return numbers(*read_results(RESULTS))


def main() -> int:
    """Writes the page and its pictures, or compares the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    args = parser.parse_args()
    text = page()
    if args.check:
        same = PAGE.read_text(encoding="utf-8") == text
        print(f"{PAGE} {'is' if same else 'is not'} what the results say")
        return 0 if same else 1
    write_atomically(PAGE, text)
    rows, about, _ = read_results(RESULTS)
    files = [PAGE, *draw(rows, about)]
    print(f"Written: {', '.join(str(file.relative_to(ROOT)) for file in files)}")
    return 0


def draw(rows: Sequence[Row], about: Mapping[str, Any]) -> list[Path]:
    """Draws the page's pictures and returns their files.

    Args:
      rows: all trials.
      about: what they ran on.
    """
    horizons = comparisons(rows, about)
    fixed = horizons["fixed"]
    return [
        draw_decays(IMAGES / "evidence-decays.png", horizons),
        draw_losses(IMAGES / "evidence-losses.png", fixed.controls | fixed.arms),
    ]


if __name__ == "__main__":
    sys.exit(main())
