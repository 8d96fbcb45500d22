"""Recipes: which power of which ratio multiplies the learning rate, decay, epsilon and initial values.

A recipe is data. Each role has a `Rule`, each quantity of a rule a `Powers`: exponents of the width ratios of
the parameter itself (`m_in`, `m_out`) and of the run (`depth`, `batch`, `tokens`). `dataclasses.replace`
changes one exponent; docs/rules.md has the whole table and its sources.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass

from mupwd.tracing.roles import Role


@dataclass(frozen=True)
class Powers:
    """A product of powers of target/base ratios.

    `m_in^m_in · m_out^m_out · L^depth · B^batch · D^tokens`, where each field is the exponent.

    Args:
      m_in: of the width ratio over the parameter's growing `in` axes.
      m_out: of the width ratio over its growing `out` (or elementwise) axes.
      depth: of the depth ratio L; counts only for parameters inside a residual branch.
      batch: of the batch size ratio B.
      tokens: of the ratio D of training tokens.

    Example:
      >>> Powers(m_in=-1.0).value(m_in=4.0)
      0.25
      >>> Powers(m_in=1.0, batch=0.5, tokens=-0.5).formula
      'm_in · B^0.5 · D^-0.5'
    """

    m_in: float = 0.0
    m_out: float = 0.0
    depth: float = 0.0
    batch: float = 0.0
    tokens: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            exponent = getattr(self, field.name)
            if not math.isfinite(exponent):
                raise ValueError(f"the exponent {field.name}={exponent} is not a finite number")

    def value(
        self,
        m_in: float = 1.0,
        m_out: float = 1.0,
        depth: float = 1.0,
        batch: float = 1.0,
        tokens: float = 1.0,
    ) -> float:
        """Returns the product at the given ratios."""
        return float(
            m_in**self.m_in * m_out**self.m_out * depth**self.depth * batch**self.batch * tokens**self.tokens
        )

    @property
    def formula(self) -> str:
        """The product in symbols; "1" where every exponent is 0."""
        symbols = {"m_in": "m_in", "m_out": "m_out", "depth": "L", "batch": "B", "tokens": "D"}
        exponents = {symbols[f.name]: getattr(self, f.name) for f in dataclasses.fields(self)}
        factors = [s if e == 1 else f"{s}^{e:g}" for s, e in exponents.items() if e]
        return " · ".join(factors) or "1"

    def __mul__(self, other: Powers) -> Powers:
        fields = dataclasses.fields(self)
        return Powers(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields})


ONE = Powers()


@dataclass(frozen=True)
class Rule:
    """What a recipe says of one role. All for Adam-family optimizers, in the forward form.

    Args:
      lr: factor on the learning rate.
      wd: factor on the coupled weight decay (a step decays by `lr * wd * w`); None for no decay term at all.
      eps: factor on Adam's epsilon.
      init: factor on the standard deviation of the base's initial values; None leaves the model as it is,
        its own width-dependent factors included.
      forward: factor on the product of the parameter and its input in the model's forward pass.
    """

    lr: Powers = ONE
    wd: Powers | None = ONE
    eps: Powers = ONE
    init: Powers | None = ONE
    forward: Powers = ONE


@dataclass(frozen=True)
class Recipe:
    """A rule for each role, as pure data.

    Args:
      name: what tables and files call it.
      source: paper and table.
      matrix, narrow, input, output, wide, vector, scalar, tied, unused: the rule of each role.
      residual: factor on the output of each residual branch (its `depth` exponent is minus the alpha of the
        depth recipes).
      one_minus_beta: factor on `1 - beta` of Adam's moments.
      decay_exponents: `(pattern, exponent)` pairs; where there are any, the `m_in` exponent of the weight
        decay of every matrix and narrow parameter comes from the one pattern that fully matches its path.

    Example:
      >>> from dataclasses import replace
      >>> linear = replace(get("mupwd").matrix, wd=Powers(m_in=1.0))
      >>> mine = replace(get("mupwd"), name="mine", matrix=linear)
      >>> mine.matrix.wd.formula
      'm_in'
    """

    name: str
    source: str
    matrix: Rule
    narrow: Rule
    input: Rule
    output: Rule
    wide: Rule
    vector: Rule
    scalar: Rule
    tied: Rule
    unused: Rule = Rule()
    residual: Powers = ONE
    one_minus_beta: Powers = ONE
    decay_exponents: tuple[tuple[str, float], ...] = ()

    def rule(self, role: Role) -> Rule:
        """Returns the rule of a role."""
        return getattr(self, role)


def get(recipe: str | Recipe) -> Recipe:
    """Returns the recipe of that name; a `Recipe` is returned as it is.

    Args:
      recipe: one of `names()`, or a recipe.

    Raises:
      ValueError: no recipe has that name.
      TypeError: neither a name nor a recipe.

    Example:
      >>> get("mupwd").matrix.wd.formula
      'm_in^0.5'
    """
    if isinstance(recipe, Recipe):
        return recipe
    if not isinstance(recipe, str):
        raise TypeError(f"recipe must be a name or a mupwd.recipes.Recipe, not {type(recipe).__name__}")
    if recipe not in _RECIPES:
        near = difflib.get_close_matches(recipe, _RECIPES, n=1, cutoff=0.0)[0]
        hint = " fitted is a function: pass recipe=mupwd.recipes.fitted(e)." if "fit" in recipe else ""
        raise ValueError(
            f"no recipe is named {recipe!r}; did you mean {near!r}?{hint} There are: {', '.join(_RECIPES)}"
        )
    return _RECIPES[recipe]


def names() -> tuple[str, ...]:
    """Returns the names that `get` knows."""
    return tuple(_RECIPES)


def fitted(e: float | Mapping[str, float]) -> Recipe:
    """The `mupwd` recipe with the width exponent of the top singular value as it was measured.

    Under AdamW `sigma_top ∝ sqrt(lr / wd) · m^e`; with `lr ∝ m^-1`, `wd ∝ m^(2e - 1)` keeps it constant. The
    other recipes are values of e: 0.5 is a constant decay, 0.75 the default, 1 a decay linear in width.

    Args:
      e: the exponent, for all; or `{pattern: exponent}`, where exactly one pattern must fully match (as a
        regular expression) the path of each matrix and narrow parameter.

    Returns:
      A recipe named after e. Its weight decay exponent is for the coupled form.

    Raises:
      ValueError: an exponent that isn't a finite number, or an empty mapping.

    Example:
      >>> fitted(0.75).matrix == get("mupwd").matrix
      True
      >>> fitted({".*/mlp/.*": 0.9, ".*/attention/.*": 0.8}).decay_exponents[0]
      ('.*/mlp/.*', 0.8)

    Source: arXiv 2510.15262, whose observed e is 0.75.
    """
    measured = dict(e) if isinstance(e, Mapping) else {"": e}
    if not measured:
        raise ValueError("fitted() got an empty mapping; give an exponent per path pattern, or one number")
    for pattern, exponent in measured.items():
        if (
            isinstance(exponent, bool)
            or not isinstance(exponent, (int, float))
            or not math.isfinite(exponent)
        ):
            where = f" for {pattern!r}" if pattern else ""
            raise ValueError(f"fitted() needs finite exponents, got {exponent!r}{where}")
    mupwd = _RECIPES["mupwd"]
    if isinstance(e, Mapping):
        # Rounding the float noise of 2·e - 1 keeps names and formulas readable.
        exponents = tuple((pattern, _decay_exponent(value)) for pattern, value in measured.items())
        name = "fitted({" + ", ".join(f"{p!r}: {v:g}" for p, v in measured.items()) + "})"
        return dataclasses.replace(mupwd, name=name, source=_FITTED_SOURCE, decay_exponents=exponents)
    wd = Powers(m_in=_decay_exponent(e))
    return dataclasses.replace(
        mupwd,
        name=f"fitted({e:g})",
        source=_FITTED_SOURCE,
        matrix=dataclasses.replace(mupwd.matrix, wd=wd),
        narrow=dataclasses.replace(mupwd.narrow, wd=wd),
    )


def _decay_exponent(e: float) -> float:
    return round(2.0 * e - 1.0, 12)


def _scaled(
    *,
    name: str,
    source: str,
    decay: Powers,
    vector_decay: Powers | None,
    follow_gradient: bool,
    lr: Powers = ONE,
    eps: Powers = ONE,
    residual: Powers = ONE,
    one_minus_beta: Powers = ONE,
) -> Recipe:
    """A muP recipe: they differ in decay, in whether eps follows the gradient, and in common factors."""
    by_in = Powers(m_in=-1.0)
    eps_in, eps_out = (by_in * eps, Powers(m_out=-1.0) * eps) if follow_gradient else (eps, eps)
    fan_out = Rule(lr=lr, wd=vector_decay, eps=eps_out)
    readout = Rule(lr=lr, wd=vector_decay, eps=eps_in, forward=by_in)
    return Recipe(
        name=name,
        source=source,
        matrix=Rule(lr=by_in * lr, wd=decay, eps=eps_out, init=Powers(m_in=-0.5)),
        narrow=Rule(lr=by_in * lr, wd=decay, eps=eps, init=by_in),
        input=fan_out,
        output=readout,
        wide=fan_out,
        vector=fan_out,
        scalar=Rule(lr=lr, wd=vector_decay, eps=eps),
        tied=readout,
        residual=residual,
        one_minus_beta=one_minus_beta,
    )


_FITTED_SOURCE = "arXiv 2510.15262 with a measured exponent in the place of its 0.75"
_PLAIN = Rule(init=None)
_SQRT_BATCH = Powers(batch=0.5, tokens=-0.5)
_INVERSE_SQRT_BATCH = Powers(batch=-0.5, tokens=0.5)

_RECIPES = {
    recipe.name: recipe
    for recipe in (
        _scaled(
            name="mupwd",
            source="Fan et al., arXiv 2510.15262: muP with weight decay ∝ sqrt(width) on matrices, 0 on vectors",
            decay=Powers(m_in=0.5),
            vector_decay=None,
            follow_gradient=True,
        ),
        _scaled(
            name="mup",
            source="Yang et al., arXiv 2203.03466, Table 8, with a constant coupled weight decay",
            decay=ONE,
            vector_decay=ONE,
            follow_gradient=False,
        ),
        _scaled(
            name="mup_linear",
            source="microsoft/mup, MuAdamW with decoupled_wd=False: lr * wd is kept constant",
            decay=Powers(m_in=1.0),
            vector_decay=ONE,
            follow_gradient=False,
        ),
        # With the paper's alpha = 1 the learning rate's L^(alpha - 1) is 1.
        _scaled(
            name="completep",
            source="Dey et al., CompleteP, arXiv 2505.01618, Table 1, alpha = 1",
            decay=Powers(m_in=1.0),
            vector_decay=None,
            follow_gradient=True,
            eps=Powers(depth=-1.0),
            residual=Powers(depth=-1.0),
        ),
        _scaled(
            name="completed_p",
            source="Mlodozeniec et al., Complete(d)P, arXiv 2512.22382, Table 1, alpha = 1",
            decay=Powers(m_in=1.0) * _SQRT_BATCH,
            vector_decay=None,
            follow_gradient=True,
            lr=_SQRT_BATCH,
            eps=Powers(depth=-1.0) * _INVERSE_SQRT_BATCH,
            residual=Powers(depth=-1.0),
            one_minus_beta=Powers(batch=1.0, tokens=-1.0),
        ),
        Recipe(
            name="sp",
            source="the standard parametrisation: nothing depends on width",
            matrix=_PLAIN,
            narrow=_PLAIN,
            input=_PLAIN,
            output=_PLAIN,
            wide=_PLAIN,
            vector=_PLAIN,
            scalar=_PLAIN,
            tied=_PLAIN,
        ),
    )
}
