"""The one error of this package."""

from __future__ import annotations


class PlanError(ValueError):
    """A plan that cannot be made, read, or used on the parameters at hand.

    Example:
      >>> import numpy as np, mupwd
      >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
      >>> plan = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"}).plan(shapes(32))
      >>> plan.explain("down")
      Traceback (most recent call last):
      ...
      mupwd.plan.errors.PlanError: no parameter of the plan is named 'down'
    """
