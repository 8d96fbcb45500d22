"""What the check of a built site finds."""

import pytest
from check_site import broken_links, of_the_network, public_names, undocumented

import mupwd


@pytest.fixture
def site(tmp_path):
    (tmp_path / "reference").mkdir()
    (tmp_path / "index.html").write_text(
        '<link rel="stylesheet" href="style.css?v=1"><a href="reference/a.html#there">one</a>'
        '<a href="https://arxiv.org/abs/2510.15262">a reader may follow this</a><h1 id="top"></h1>'
    )
    (tmp_path / "reference" / "a.html").write_text('<a href="../index.html#top"></a><p id="there"></p>')
    (tmp_path / "style.css").write_text("p { background: url('dot.png') }")
    return tmp_path


def append(file, text):
    file.write_text(file.read_text() + text)


def test_a_good_site_has_no_problem(site):
    assert [*of_the_network(site), *broken_links(site)] == []


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="preconnect" href="//fonts.example">',
        '<img src="http://badges.example/build.svg">',
    ],
)
def test_a_page_that_asks_the_network_is_named(site, tag):
    append(site / "reference" / "a.html", tag)
    (line,) = of_the_network(site)
    assert line.startswith("reference/a.html: a browser would fetch ")
    assert line.rpartition(" ")[2] in tag


@pytest.mark.parametrize(
    "rule", ["@import 'https://fonts.example/a.css';", "p { src: url(//fonts.example/a.woff) }"]
)
def test_a_style_sheet_that_asks_the_network_is_named(site, rule):
    append(site / "style.css", rule)
    (line,) = of_the_network(site)
    assert line.startswith("style.css: a browser would fetch ")


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("gone.html", "reference/a.html: nothing is at gone.html"),
        ("../index.html#gone", "reference/a.html: no such place in index.html: ../index.html#gone"),
        ("#gone", "reference/a.html: no such place in reference/a.html: #gone"),
    ],
)
def test_a_link_that_leads_nowhere_is_named(site, link, message):
    append(site / "reference" / "a.html", f'<a href="{link}">x</a>')
    assert list(broken_links(site)) == [message]


def test_public_names_are_those_of_every_package():
    names = public_names()
    assert {f"mupwd.{name}" for name in mupwd.__all__} <= names.keys()
    assert {"mupwd.transfer.fit_optimum", "mupwd.proxy.train", "mupwd.report.RunLog"} <= names.keys()


def test_a_public_name_without_an_entry_is_named():
    everything = set(public_names())
    assert list(undocumented(everything)) == []
    assert list(undocumented(everything - {"mupwd.recipes.fitted"})) == [
        "mupwd.recipes.fitted is public and not in docs/reference"
    ]


def test_one_entry_is_enough_for_what_has_two_names():
    assert list(undocumented(set(public_names()) - {"mupwd.optim.adamw"})) == []
    assert len(list(undocumented(set(public_names()) - {"mupwd.adamw", "mupwd.optim.adamw"}))) == 2
