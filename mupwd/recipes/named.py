"""The recipes that have names, and the one that is fitted to a measurement."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import math
import re
import reprlib
from collections.abc import Mapping

from mupwd.recipes.exponents import ONE, Powers, Recipe, Rule
from mupwd.scalars import as_float, is_number


def get(recipe: str | Recipe) -> Recipe:
    """Returns the recipe of that name; a `Recipe` is returned as it is.

    Args:
      recipe: one of `names()`, "fitted(e)" with what `fitted` takes, "completep(alpha)" or "completed_p(alpha)", or
        a recipe.

    Raises:
      ValueError: no recipe has that name.
      TypeError: neither a name nor a recipe.

    Example:
      >>> get("mupwd").matrix.wd.formula
      'm_in^0.5'
      >>> get("fitted(1.0)").matrix.wd.formula
      'm_in'
    """
    if isinstance(recipe, Recipe):
        return recipe
    if not isinstance(recipe, str):
        raise TypeError(
            f"recipe must be a name, such as 'mupwd', or a mupwd.recipes.Recipe; got {type(recipe).__name__}"
        )
    if match := re.fullmatch(r"fitted\((.*)\)", recipe, re.DOTALL):
        return fitted(_exponents_of(match[1]))
    if match := re.fullmatch(r"(completep|completed_p)\((.*)\)", recipe, re.DOTALL):
        return {"completep": completep, "completed_p": completed_p}[match[1]](_alpha_of(recipe, match[2]))
    if recipe not in _RECIPES:
        there = f"There are: {', '.join(_RECIPES)}"
        if not recipe.strip():
            raise ValueError(f"the name of the recipe is empty. {there}")
        near = difflib.get_close_matches(recipe, _RECIPES, n=1, cutoff=0.0)[0]
        hint = " The fitted one is named with its exponent: 'fitted(0.8)'." if "fit" in recipe else ""
        raise ValueError(f"no recipe is named {reprlib.repr(recipe)}; did you mean {near!r}?{hint} {there}")
    return _RECIPES[recipe]


def names() -> tuple[str, ...]:
    """Returns the names that `get` knows.

    Example:
      >>> names()[:3]
      ('mupwd', 'mup', 'mup_linear')
    """
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
      ValueError: an exponent that isn't a finite number, a pattern that isn't a regular expression, or an
        empty mapping.

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
        if not is_number(exponent) or not math.isfinite(as_float(exponent)):
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


def completep(alpha: float = 1.0) -> Recipe:
    """Width and depth: residual branches are multiplied by `L^-alpha`, learning rates in them by `L^(alpha - 1)`.

    Args:
      alpha: 1 is CompleteP, 1/2 the depth-muP of Yang et al. and Bordelon et al.

    Returns:
      A recipe named after alpha, where that is not 1.

    Raises:
      ValueError: alpha is not a number in [0, 1].

    Example:
      >>> completep(0.5).matrix.lr.formula, completep(0.5).residual.formula
      ('m_in^-1 · L^-0.5', 'L^-0.5')

    Source: Dey et al., arXiv 2505.01618, Table 1.
    """
    return _with_depth(
        "completep", "Dey et al., CompleteP, arXiv 2505.01618, Table 1", alpha, run=ONE, one_minus_beta=ONE
    )


def completed_p(alpha: float = 1.0) -> Recipe:
    """Width, depth, batch size and training tokens: `completep` times `sqrt(B / D)`.

    Args:
      alpha: as in `completep`.

    Returns:
      A recipe named after alpha, where that is not 1.

    Raises:
      ValueError: alpha is not a number in [0, 1].

    Example:
      >>> completed_p(0.5).input.lr.formula, completed_p().one_minus_beta.formula
      ('L^-0.5 · B^0.5 · D^-0.5', 'B · D^-1')

    Source: Mlodozeniec et al., arXiv 2512.22382, Table 1.
    """
    return _with_depth(
        "completed_p",
        "Mlodozeniec et al., Complete(d)P, arXiv 2512.22382, Table 1",
        alpha,
        run=_SQRT_BATCH,
        one_minus_beta=Powers(batch=1.0, tokens=-1.0),
    )


def _alpha_of(recipe: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(
            f"recipe {reprlib.repr(recipe)}: expected a number for alpha, as in 'completep(0.5)'"
        ) from error


def _exponents_of(text: str) -> float | dict[str, float]:
    """What stands in the parentheses of a fitted recipe's name."""
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(
            f"recipe 'fitted({reprlib.repr(text)[1:-1]})': expected an exponent, 'fitted(0.8)', or one for each path "
            """pattern, 'fitted({".*/mlp/.*": 0.9, ".*/attention/.*": 0.8})'"""
        ) from error


def _decay_exponent(e: float) -> float:
    return round(2.0 * float(e) - 1.0, 12)


def _scaled(
    *,
    name: str,
    source: str,
    decay: Powers,
    embedding_decay: Powers | None,
    vector_decay: Powers | None,
    follow_gradient: bool,
    lr: Powers = ONE,
    eps: Powers = ONE,
    residual: Powers = ONE,
    one_minus_beta: Powers = ONE,
) -> Recipe:
    """A muP recipe: they differ in decay, in whether eps follows the gradient, and in common factors.

    `embedding_decay` is that of the other weights that contract or look up: input, output, tied and wide;
    `vector_decay` that of gains, biases and scalars.
    """
    by_in = Powers(m_in=-1.0)
    eps_in, eps_out = (by_in * eps, Powers(m_out=-1.0) * eps) if follow_gradient else (eps, eps)
    # Inside a residual branch the gradient carries the branch's own factor.
    gradient_in, gradient_out = by_in * residual, Powers(m_out=-1.0) * residual
    embedding = Rule(lr=lr, wd=embedding_decay, eps=eps_out, gradient=gradient_out)
    readout = Rule(lr=lr, wd=embedding_decay, eps=eps_in, forward=by_in, gradient=gradient_in)
    return Recipe(
        name=name,
        source=source,
        matrix=Rule(lr=by_in * lr, wd=decay, eps=eps_out, init=Powers(m_in=-0.5), gradient=gradient_out),
        narrow=Rule(lr=by_in * lr, wd=decay, eps=eps, init=by_in, gradient=residual),
        input=embedding,
        output=readout,
        wide=embedding,
        vector=Rule(lr=lr, wd=vector_decay, eps=eps_out, gradient=gradient_out),
        scalar=Rule(lr=lr, wd=vector_decay, eps=eps, gradient=residual),
        tied=readout,
        residual=residual,
        one_minus_beta=one_minus_beta,
    )


def _with_depth(name: str, source: str, alpha: float, *, run: Powers, one_minus_beta: Powers) -> Recipe:
    """Depth and width, and a common factor of the run's batch size and tokens."""
    if not is_number(alpha) or not 0 <= alpha <= 1:
        raise ValueError(
            f"{name}({alpha!r}): alpha is a number from 0 to 1; 1 and 1/2 are those of the papers"
        )
    opposite = Powers(batch=-run.batch, tokens=-run.tokens)
    # Embeddings decay here, norms and biases do not: so do CompleteP's authors in their own implementation
    # (EleutherAI/nanoGPT-mup, completep).
    return _scaled(
        name=name if alpha == 1 else f"{name}({alpha:g})",
        source=f"{source}, alpha = {alpha:g}",
        decay=Powers(m_in=1.0) * run,
        embedding_decay=run,
        vector_decay=None,
        follow_gradient=True,
        lr=Powers(depth=alpha - 1.0) * run,
        eps=Powers(depth=-float(alpha)) * opposite,
        residual=Powers(depth=-float(alpha)),
        one_minus_beta=one_minus_beta,
    )


_FITTED_SOURCE = "arXiv 2510.15262 with a measured exponent in the place of its 0.75"
_PLAIN = Rule(init=None)
_SQRT_BATCH = Powers(batch=0.5, tokens=-0.5)
_SP = Recipe(
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
    unused=_PLAIN,
    logits=None,
)

_RECIPES = {
    recipe.name: recipe
    for recipe in (
        _scaled(
            name="mupwd",
            source="Fan et al., arXiv 2510.15262: weight decay ∝ sqrt(width) on matrices, 0 on vector-likes",
            decay=Powers(m_in=0.5),
            embedding_decay=None,
            vector_decay=None,
            follow_gradient=True,
        ),
        _scaled(
            name="mup",
            source="Yang et al., arXiv 2203.03466, Table 8, with a constant coupled weight decay",
            decay=ONE,
            embedding_decay=ONE,
            vector_decay=ONE,
            follow_gradient=False,
        ),
        _scaled(
            name="mup_linear",
            source="microsoft/mup, MuAdamW with decoupled_wd=False: lr * wd is kept constant",
            decay=Powers(m_in=1.0),
            embedding_decay=ONE,
            vector_decay=ONE,
            follow_gradient=False,
        ),
        completep(),
        completed_p(),
        _SP,
        dataclasses.replace(
            _SP,
            name="sp_embedding",
            source="sp with muP's ratio of the embedding's learning rate to the matrices': the part of muP that "
            "arXiv 2605.21486 finds to matter most",
            input=Rule(lr=Powers(m_out=1.0), init=None),
        ),
    )
}
