"""Recipes: which power of which ratio multiplies the learning rate, decay, epsilon and initial values.

A recipe is data. Each role has a `Rule`, each quantity of a rule a `Powers`: exponents of the width ratios of
the parameter itself (`m_in`, `m_out`) and of the run (`depth`, `batch`, `tokens`). `dataclasses.replace`
changes one exponent; docs/rules.md has the whole table and its sources.
"""

from mupwd.recipes.exponents import BY_PATTERN, ONE, Powers, Recipe, Rule
from mupwd.recipes.named import completed_p, completep, fitted, get, names

__all__ = [
    "BY_PATTERN",
    "ONE",
    "Powers",
    "Recipe",
    "Rule",
    "completed_p",
    "completep",
    "fitted",
    "get",
    "names",
]
