"""A small site, built with the extensions of docs/conf.py."""

import re
import subprocess
import sys

import pytest
from docstring_markup import restructured

CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = [
    "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon",
    "code_links", "command_help", "docstring_markup", "mathml", "public_names", "source_pages",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
autodoc_default_options = {{"members": True}}
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!mupwd\\\\.).*")]
"""

INDEX = """\
# Pages

`Powers`, `Powers.formula`, `mupwd.recipes.get("sp")`, `powers` and `Nothing`; [a file](../code/lines.py);
[what changed](../CHANGELOG.md); $m^{1/2}$.

$$w \\leftarrow w - \\alpha f$$

```{toctree}
reference
bad
changelog
```
"""

REFERENCE = """\
Reference
=========

.. module:: mupwd.recipes

.. public-names::

   get
   Powers
"""

BAD = """\
# Bad

[no file](../code/gone.py), [no place](index.md#gone), $\\nonsense{x}$

```{command-help} plan
```
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("site")
    pages = root / "docs"
    (root / "code").mkdir()
    (root / "code" / "lines.py").write_text("first = 1\nsecond = first + 1\n")
    (root / "CHANGELOG.md").write_text("# Changes\n")
    pages.mkdir()
    extensions = str(next(path for path in sys.path if path.endswith("_ext")))
    (pages / "conf.py").write_text(CONF.format(extensions=extensions))
    (pages / "index.md").write_text(INDEX)
    (pages / "reference.rst").write_text(REFERENCE)
    (pages / "bad.md").write_text(BAD)
    (pages / "changelog.md").write_text("# Changes\n")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "docs", "site"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return root / "site", done.stderr


def page(built, name):
    return (built[0] / f"{name}.html").read_text()


def test_code_that_names_an_entry_is_a_link_to_it_and_other_code_is_not(built):
    text = page(built, "index")
    for name in ("Powers", "Powers.formula"):
        assert f'href="reference.html#mupwd.recipes.{name}"' in text
    assert 'href="reference.html#mupwd.recipes.get"' in text
    linked = re.findall(
        r'<a class="reference internal" href="reference.html#[^>]*><code[^>]*><span class="pre">(\w+)', text
    )
    assert "Powers" in linked
    assert not {"powers", "Nothing"} & set(linked)


def test_a_file_outside_of_docs_has_a_page_and_an_included_one_leads_to_its_page(built):
    assert 'href="files/code/lines.py.html"' in page(built, "index")
    assert 'href="changelog.html">' in page(built, "index")
    source = page(built, "files/code/lines.py")
    assert "<h1>code/lines.py</h1>" in source
    assert 'name="line-2"' in source


def test_maths_is_mathml_and_no_script(built):
    text = page(built, "index")
    assert text.count("<math") == 2
    assert 'display="block"' in text
    assert "mathjax" not in "".join(re.findall("<script.*?>", text, re.DOTALL)).lower()


def test_entries_come_from_docstrings_and_lead_to_their_source(built):
    text = page(built, "reference")
    for name in ("get", "Powers", "Powers.formula", "Powers.value"):
        assert f'id="mupwd.recipes.{name}"' in text
    assert (
        "files/mupwd/recipes/exponents.py.html#line-" not in text
    )  # that file is not in this site's repository


def test_a_page_shows_what_a_command_says(built):
    text = page(built, "bad")
    assert "usage: mupwd plan" in text
    assert "--learning_rate" in text


def test_what_is_broken_is_warned_of(built):
    warnings = built[1]
    assert "gone.py" in warnings
    assert "local id not found" in warnings
    assert r"\nonsense" in warnings
    assert len([line for line in warnings.splitlines() if "WARNING" in line]) == 3, warnings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`a * b` of `X`s", r"``a * b`` of ``X``\ s"),
        ("``as it is`` and :func:`family`", "``as it is`` and :func:`family`"),
        ("`two\n  lines`", "``two lines``"),
        ("factor $f^{lr}_i$, `$HOME`", "factor :math:`f^{lr}_i`, ``$HOME``"),
        ("  $$a\n    b$$", "  .. math:: a b"),
        ("costs 5$ or 6$", "costs 5$ or 6$"),
    ],
)
def test_a_docstring_becomes_restructured_text(text, expected):
    assert restructured(text) == expected
