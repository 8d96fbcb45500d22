"""What can go wrong in a sweep."""

from __future__ import annotations


class SweepError(RuntimeError):
    """A sweep cannot go on; the message says what to do."""


class TrialError(SweepError):
    """A trial raised, or the process that ran it ended."""
