"""docs/evidence.md says what the committed results say, to the digit."""

import re

import page
import pytest
from numbers_of import numbers
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
    found = numbers(*read_results(page.RESULTS))
    readme = (page.ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Which decay rule?\n")[1].split("\n## ")[0]
    assert f"on top of each other is {found['fixed_collapse_tuned']}," in section
    assert f"to the {found['fixed_matching_low']} to {found['fixed_matching_high']}:" in section
