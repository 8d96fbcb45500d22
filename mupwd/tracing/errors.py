"""The one error of tracing: a parameter that the program does not decide."""

from __future__ import annotations


class TraceError(ValueError):
    """A program, or one parameter of it, that the walk cannot read with certainty."""
