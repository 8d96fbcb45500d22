"""A model as a function of its width."""

from mupwd.family.family import Family
from mupwd.family.make import family, family_from_shapes

__all__ = ["Family", "family", "family_from_shapes"]
