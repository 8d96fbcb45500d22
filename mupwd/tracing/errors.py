"""The one error of tracing: a parameter that the program does not decide."""

from __future__ import annotations


class TraceError(ValueError):
    """A program, or one parameter of it, that the walk cannot read with certainty.

    Example:
      >>> import numpy as np, mupwd
      >>> same = {"up": np.ones((8, 32))}
      >>> mupwd.family_from_shapes(same, same, axes={})  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      ...
      mupwd.tracing.errors.TraceError: no parameter changes its shape between the two trees of parameters: ...
    """
