"""The one error of this package."""

from __future__ import annotations


class PlanError(ValueError):
    """A plan that cannot be made, read, or used on the parameters at hand."""
