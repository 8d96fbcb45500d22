"""The exponents of every recipe, against a literal of the whole table."""

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest

from mupwd import recipes
from mupwd.recipes import Powers, Recipe

ROLES = ("matrix", "narrow", "input", "output", "wide", "vector", "scalar", "tied", "unused")

# lr | wd | eps | init | forward, per role. "-" is no decay term, "own" the model's own initial values.
MUP = {
    "matrix": "m_in^-1 | 1 | 1 | m_in^-0.5 | 1",
    "narrow": "m_in^-1 | 1 | 1 | m_in^-1 | 1",
    "input": "1 | 1 | 1 | 1 | 1",
    "output": "1 | 1 | 1 | 1 | m_in^-1",
    "wide": "1 | 1 | 1 | 1 | 1",
    "vector": "1 | 1 | 1 | 1 | 1",
    "scalar": "1 | 1 | 1 | 1 | 1",
    "tied": "1 | 1 | 1 | 1 | m_in^-1",
    "unused": "1 | 1 | 1 | 1 | 1",
}
TABLE = {
    "mupwd": {
        "matrix": "m_in^-1 | m_in^0.5 | m_out^-1 | m_in^-0.5 | 1",
        "narrow": "m_in^-1 | m_in^0.5 | 1 | m_in^-1 | 1",
        "input": "1 | - | m_out^-1 | 1 | 1",
        "output": "1 | - | m_in^-1 | 1 | m_in^-1",
        "wide": "1 | - | m_out^-1 | 1 | 1",
        "vector": "1 | - | m_out^-1 | 1 | 1",
        "scalar": "1 | - | 1 | 1 | 1",
        "tied": "1 | - | m_in^-1 | 1 | m_in^-1",
        "unused": "1 | 1 | 1 | 1 | 1",
    },
    "mup": MUP,
    "mup_linear": MUP
    | {"matrix": "m_in^-1 | m_in | 1 | m_in^-0.5 | 1", "narrow": "m_in^-1 | m_in | 1 | m_in^-1 | 1"},
    "completep": {
        "matrix": "m_in^-1 | m_in | m_out^-1 · L^-1 | m_in^-0.5 | 1",
        "narrow": "m_in^-1 | m_in | L^-1 | m_in^-1 | 1",
        "input": "1 | 1 | m_out^-1 · L^-1 | 1 | 1",
        "output": "1 | 1 | m_in^-1 · L^-1 | 1 | m_in^-1",
        "wide": "1 | 1 | m_out^-1 · L^-1 | 1 | 1",
        "vector": "1 | - | m_out^-1 · L^-1 | 1 | 1",
        "scalar": "1 | - | L^-1 | 1 | 1",
        "tied": "1 | 1 | m_in^-1 · L^-1 | 1 | m_in^-1",
        "unused": "1 | 1 | 1 | 1 | 1",
    },
    "completed_p": {
        "matrix": "m_in^-1 · B^0.5 · D^-0.5 | m_in · B^0.5 · D^-0.5 | m_out^-1 · L^-1 · B^-0.5 · D^0.5"
        " | m_in^-0.5 | 1",
        "narrow": "m_in^-1 · B^0.5 · D^-0.5 | m_in · B^0.5 · D^-0.5 | L^-1 · B^-0.5 · D^0.5 | m_in^-1 | 1",
        "input": "B^0.5 · D^-0.5 | B^0.5 · D^-0.5 | m_out^-1 · L^-1 · B^-0.5 · D^0.5 | 1 | 1",
        "output": "B^0.5 · D^-0.5 | B^0.5 · D^-0.5 | m_in^-1 · L^-1 · B^-0.5 · D^0.5 | 1 | m_in^-1",
        "wide": "B^0.5 · D^-0.5 | B^0.5 · D^-0.5 | m_out^-1 · L^-1 · B^-0.5 · D^0.5 | 1 | 1",
        "vector": "B^0.5 · D^-0.5 | - | m_out^-1 · L^-1 · B^-0.5 · D^0.5 | 1 | 1",
        "scalar": "B^0.5 · D^-0.5 | - | L^-1 · B^-0.5 · D^0.5 | 1 | 1",
        "tied": "B^0.5 · D^-0.5 | B^0.5 · D^-0.5 | m_in^-1 · L^-1 · B^-0.5 · D^0.5 | 1 | m_in^-1",
        "unused": "1 | 1 | 1 | 1 | 1",
    },
    "sp": dict.fromkeys(ROLES, "1 | 1 | 1 | own | 1"),
    "sp_embedding": {**dict.fromkeys(ROLES, "1 | 1 | 1 | own | 1"), "input": "m_out | 1 | 1 | own | 1"},
}


def formulas(recipe: Recipe) -> dict[str, str]:
    def line(role):
        r = recipe.rule(role)
        wd = "-" if r.wd is None else r.wd.formula
        init = "own" if r.init is None else r.init.formula
        return " | ".join((r.lr.formula, wd, r.eps.formula, init, r.forward.formula))

    return {role: line(role) for role in ROLES}


def test_every_named_recipe_is_in_the_table():
    assert recipes.names() == tuple(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_the_exponents_of(name):
    assert formulas(recipes.get(name)) == TABLE[name]


@pytest.mark.parametrize(
    ("name", "residual", "one_minus_beta"),
    [("mupwd", "1", "1"), ("sp", "1", "1"), ("completep", "L^-1", "1"), ("completed_p", "L^-1", "B · D^-1")],
)
def test_the_factors_of_a_whole_run(name, residual, one_minus_beta):
    recipe = recipes.get(name)
    assert (recipe.residual.formula, recipe.one_minus_beta.formula) == (residual, one_minus_beta)


def test_what_is_not_given_has_not_changed():
    powers = Powers(m_in=-1.0, m_out=2.0, depth=3.0, batch=0.5, tokens=-0.5)
    assert powers.value() == 1.0
    assert powers.value(m_in=2.0, m_out=3.0, depth=5.0, batch=49.0, tokens=121.0) == 0.5 * 9 * 125 * 7 / 11


def test_one_exponent_is_changed_by_replace():
    mupwd = recipes.get("mupwd")
    mine = replace(mupwd, matrix=replace(mupwd.matrix, wd=Powers(m_in=0.6)))
    changed = {role for role, line in formulas(mine).items() if line != TABLE["mupwd"][role]}
    assert changed == {"matrix"}
    assert recipes.get(mine) is mine


@pytest.mark.parametrize(("e", "like"), [(0.5, "mup"), (0.75, "mupwd"), (1.0, "mup_linear")])
def test_the_literatures_rules_are_values_of_e(e, like):
    fitted = recipes.fitted(e)
    assert fitted.name == f"fitted({e:g})"
    for role in ("matrix", "narrow"):
        assert fitted.rule(role).wd == recipes.get(like).rule(role).wd
        assert fitted.rule(role).lr == Powers(m_in=-1.0)
    assert formulas(fitted) | {"matrix": "", "narrow": ""} == TABLE["mupwd"] | {"matrix": "", "narrow": ""}


def test_a_mapping_gives_each_path_its_own_decay():
    recipe = recipes.fitted({".*/mlp/.*": 0.9, ".*/attention/.*": 0.75})
    assert recipe.rule("matrix", "layers/0/mlp/up/kernel").wd == Powers(m_in=0.8)
    assert recipe.rule("narrow", "layers/0/attention/k/kernel").wd == Powers(m_in=0.5)
    assert recipe.rule("input", "layers/0/mlp/table").wd is None


def test_a_measured_exponent_leaves_the_other_factors_of_the_decay():
    recipe = replace(recipes.get("completed_p"), decay_exponents=((".*", 0.6),))
    wd = recipe.rule("matrix", "layers/0/mlp/up/kernel").wd
    assert wd == Powers(m_in=0.6, batch=0.5, tokens=-0.5)


@pytest.mark.parametrize("e", [0.5, 0.771, -0.25, {r"layers/\d+/mlp/.*": 0.9, ".*'k'.*": 0.75}])
def test_a_fitted_recipe_is_found_by_its_name(e):
    recipe = recipes.fitted(e)
    assert recipes.get(recipe.name) == recipe
    assert recipe.source == "arXiv 2510.15262 with a measured exponent in the place of its 0.75"


@pytest.mark.parametrize(
    ("e", "message"),
    [
        (float("nan"), r"finite exponents, got nan$"),
        (float("inf"), "finite exponents, got inf"),
        ("0.75", "finite exponents, got '0.75'"),
        ({".*": float("nan")}, r"got nan for '\.\*'"),
        ({"(": 0.7}, "not a regular expression"),
        ({}, r"^fitted\(\) got an empty mapping; give an exponent per path pattern, or one number$"),
    ],
)
def test_what_fitted_refuses(e, message):
    with pytest.raises(ValueError, match=message):
        recipes.fitted(e)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("muwpd", r"no recipe is named 'muwpd'; did you mean 'mupwd'\? There are: mupwd, mup, "),
        ("completedp", "did you mean 'completed_p'"),
        ("fitted", r"\? The fitted one is named with its exponent: 'fitted\(0\.8\)'\. There are: "),
        ("fitted(x)", r"recipe 'fitted\(x\)': expected an exponent"),
        ("fitted(__import__('os'))", "expected an exponent"),
        ("fitted(" + 1000 * "[", "no recipe is named"),
        ("fitted(" + 1000 * "[" + ")", "expected an exponent"),
        ("fitted(nan)", "expected an exponent"),
        ("fitted('0.75')", "finite exponents, got '0.75'"),
        ("fitted({1: 0.75})", "1 is not a regular expression"),
        ("", "There are: mupwd, mup, mup_linear, completep, completed_p, sp"),
    ],
)
def test_an_unknown_recipe_names_the_nearest(name, message):
    with pytest.raises(ValueError, match=message):
        recipes.get(name)


def test_names_may_be_pasted_over_several_lines():
    assert recipes.get("fitted({'.*':\n 0.75})") == recipes.fitted({".*": 0.75})
    assert recipes.get("completep(\n0.5)") == recipes.completep(0.5)


def test_a_recipe_is_a_name_or_a_recipe():
    with pytest.raises(TypeError, match=r"mupwd\.recipes\.Recipe; got float"):
        recipes.get(0.75)  # pyright: ignore[reportArgumentType]


def test_an_exponent_must_be_finite():
    with pytest.raises(ValueError, match="depth=nan is not a finite number"):
        Powers(depth=float("nan"))


@pytest.mark.parametrize("name", [*recipes.names(), "fitted({'.*': 0.8})"])
def test_a_printed_recipe_says_its_rules(name):
    """Printed, a recipe is its own table: one row per role, with the formulas of its rules."""
    recipe = recipes.get(name)
    lines = {line.split()[0]: line for line in str(recipe).splitlines() if line}
    for role in ROLES:
        rule = getattr(recipe, role)
        decay = "by path" if recipe.decay_exponents and role in ("matrix", "narrow") else rule.wd
        cells = [rule.lr, decay, rule.eps, rule.init, rule.forward]
        named = [getattr(cell, "formula", cell) for cell in cells]
        expected = [
            cell or word for cell, word in zip(named, ("", "none", "", "the model's", ""), strict=True)
        ]
        assert [c.strip() for c in lines[role].removeprefix(role).split("  ") if c] == expected
    assert ("head_dim^-1" in str(recipe)) == (recipe.logits == -1)
    for pattern, exponent in recipe.decay_exponents:
        assert f"{pattern} × m_in^{exponent:g}" in str(recipe)


def test_powers_are_shown_without_the_zeros():
    """What is printed of a rule can be read, and is the expression that makes it."""
    assert repr(Powers()) == "Powers()"
    powers = Powers(m_in=-0.5, tokens=1)
    assert repr(powers) == "Powers(m_in=-0.5, tokens=1.0)"
    assert eval(repr(recipes.get("completed_p").matrix), vars(recipes)) == recipes.get("completed_p").matrix


def test_an_exponent_may_be_any_number():
    """Exponents are computed with numpy."""
    assert recipes.fitted(np.float32(0.75)) == recipes.fitted(0.75)
    assert recipes.completep(np.float64(0.5)).name == "completep(0.5)"
    for recipe in (recipes.fitted({".*": np.float32(0.8)}), recipes.completed_p(np.float32(0.5))):
        json.dumps(dataclasses.asdict(recipe))
    with pytest.raises(ValueError, match=r"needs finite exponents, got np\.float32\(nan\)"):
        recipes.fitted(np.float32("nan"))
