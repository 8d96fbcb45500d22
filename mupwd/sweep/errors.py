"""What can go wrong in a sweep."""

from __future__ import annotations


class SweepError(RuntimeError):
    """A sweep cannot go on; the message says what to do."""


class StoreBusyError(SweepError):
    """Another process is running trials in the same directory."""


class TrialError(SweepError):
    """A trial raised, or the process that ran it ended."""
