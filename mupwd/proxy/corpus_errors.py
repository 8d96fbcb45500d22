"""What goes wrong with a corpus that a user can put right."""

from __future__ import annotations


class CorpusError(ValueError):
    """A corpus can't be read, or doesn't fit what is asked of it; the message says what to do."""


def missing_extra(package: str, purpose: str) -> CorpusError:
    """Returns the error for a package of the extra `data` that is not installed."""
    return CorpusError(f"{purpose} needs the package {package!r}; install it with: pip install 'mupwd[data]'")
