"""The code of the guides, the questions and the explanation runs, and prints what the pages show."""

import re
from pathlib import Path

import jax
import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    page.relative_to(DOCS).as_posix(): page for page in [*sorted(DOCS.glob("guides/*.md")), DOCS / "faq.md"]
}
# A block, and what it prints where the page shows that directly below.
_BLOCK = re.compile(r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", re.DOTALL)
WITH_CODE = [name for name, page in PAGES.items() if "```python" in page.read_text(encoding="utf-8")]


def _same_but_for_spaces_at_ends(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


@pytest.mark.parametrize("name", WITH_CODE)
def test_the_code_of_a_page_runs_and_prints_what_it_shows(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as users have it
        for code, shown in _BLOCK.findall(PAGES[name].read_text(encoding="utf-8")):
            exec(compile(code, "model.py", "exec"), names)
            printed = capsys.readouterr().out
            assert _same_but_for_spaces_at_ends(printed) == _same_but_for_spaces_at_ends(shown), code


def test_pages_show_no_other_blocks_as_output():
    """A block of output that follows no code would never be compared."""
    for name, page in PAGES.items():
        text = page.read_text(encoding="utf-8")
        assert text.count("```text") == sum(bool(shown) for _, shown in _BLOCK.findall(text)), name


def _anchors(page: Path) -> set[str]:
    """GitHub's names of a page's headings."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", [*PAGES, "theory.md"])
def test_links_lead_to_files_and_headings_that_exist(name):
    page = DOCS / name
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file), target
