"""docs/evidence.md says what the committed results say, to the digit."""

import re

import page
import pytest
from results import read_results


def test_every_number_comes_from_the_committed_results():
    assert page.page() == page.PAGE.read_text(encoding="utf-8")


def test_the_pictures_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "IMAGES", tmp_path)
    files = page.draw(*read_results(page.RESULTS)[:2])
    assert [file.name for file in files] == re.findall(r"images/(evidence-\w+\.png)", page.PAGE.read_text())
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_a_name_that_nothing_computes_is_told(monkeypatch):
    monkeypatch.setattr(page, "_NAME", re.compile(r"(sqrt)\("))
    with pytest.raises(KeyError, match=r"page\.md asks for sqrt; numbers_of\.py computes"):
        page.page()


def test_readme_quotes_the_same_numbers():
    found = page.found_numbers()
    readme = (page.ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Which decay rule?\n")[1].split("\n## ")[0]
    for name in ("collapse_tuned", "regret_p0", "regret_p_half", "regret_p1"):
        row = next(line for line in section.splitlines() if found[f"fixed_{name}"] in line)
        assert row.endswith(f"| {found[f'fixed_{name}']} | {found[f'growing_{name}']} |")
    for horizon in ("fixed", "growing"):
        assert f"| {found[f'{horizon}_matching_low']} to {found[f'{horizon}_matching_high']} |" in section
