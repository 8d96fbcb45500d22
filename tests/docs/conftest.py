"""The site's own modules are no package: they are imported from where they lie."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "docs" / "_ext"), str(ROOT / "scripts" / "errors")]
