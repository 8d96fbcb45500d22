"""The site's own modules are no package: they are imported from docs/ and docs/_ext/."""

import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
sys.path[:0] = [str(DOCS), str(DOCS / "_ext")]
