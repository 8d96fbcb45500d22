"""The tables of docs/rules.md say what the code does."""

from pathlib import Path

import pytest

from mupwd import recipes
from mupwd.recipes import Rule

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
ROLES = {"matrix", "narrow", "input", "output", "wide", "vector", "scalar", "tied", "unused"}


def cells(rule: Rule) -> list[str]:
    wd = "none" if rule.wd is None else rule.wd.formula
    init = "own" if rule.init is None else rule.init.formula
    return [rule.lr.formula, wd, rule.eps.formula, init, rule.forward.formula]


@pytest.mark.parametrize("name", recipes.names())
def test_the_table_of(name):
    section = PAGE.split(f"\n### {name}\n")[1].split("\n#")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line[:1] == "|"
    ]
    assert rows[0] == ["role", "lr", "wd", "eps", "init", "forward"]
    written = {role: row[1:] for row in rows[2:] for role in row[0].split(", ")}
    assert written.keys() == ROLES
    recipe = recipes.get(name)
    for role, row in written.items():
        assert row == cells(recipe.rule(role)), role
