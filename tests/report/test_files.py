"""The files of a report: whole, self-contained, and unmoved by hostile names."""

import html.parser
import json

import pytest
from helpers.scores import make_scores, make_setting

from mupwd.report.collect import Group
from mupwd.report.curves import loss_range, panels
from mupwd.report.page import page
from mupwd.report.write import write_report

HOSTILE = """</script><script>alert(1)</script>"'&<b>\n é"""


@pytest.fixture(scope="module")
def scores():
    return make_scores()


class Elements(html.parser.HTMLParser):
    """Collects tags with their attributes, and all text outside scripts."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.scripts, self._script = [], [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._script = tag == "script"

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        (self.scripts if self._script else self.text).append(data)


def parse(text):
    parser = Elements()
    parser.feed(text)
    return parser


def test_writes_page_picture_and_numbers(tmp_path, scores):
    files = write_report(tmp_path, scores, make_setting(scores))
    assert {file.name for file in files} == {"index.html", "curves.png", "summary.json"}
    assert {path.name for path in tmp_path.iterdir()} == {file.name for file in files}
    assert (tmp_path / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["recipes"]["moves"]["learning_rate_drift"]["verdict"] == "drifts"
    assert summary["setting"]["steps"] == 500


def test_the_page_loads_nothing_and_is_small(scores):
    text = page([Group("sweep", scores=scores, setting=make_setting(scores))])
    assert len(text.encode()) < 2_500_000
    tags = parse(text).tags
    assert not [tag for tag, attrs in tags if tag in ("link", "img", "iframe", "object", "base")]
    assert not [attrs for _, attrs in tags if "src" in attrs]
    assert all(attrs["href"].startswith("#") for _, attrs in tags if "href" in attrs)
    policy = next(attrs for _, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")


def test_hostile_names_are_text(scores):
    renamed = {HOSTILE: scores["stays"].__class__(**{**vars(scores["stays"]), "recipe": HOSTILE})}
    setting = make_setting(renamed, corpus=HOSTILE, command=HOSTILE, environment={HOSTILE: HOSTILE})
    found = parse(page([Group(HOSTILE, scores=renamed, setting=setting)]))
    assert len([tag for tag, _ in found.tags if tag == "script"]) == 3
    assert not [tag for tag, _ in found.tags if tag == "b"]
    data = json.loads(found.scripts[0])
    assert data["loss"][0]["panels"][0]["recipe"] == HOSTILE
    assert [HOSTILE, HOSTILE] in data["manifest"][0]["rows"]


def test_the_curves_hold_every_width_and_mark_divergence(scores):
    found = panels(scores)
    assert [(panel.recipe, panel.axis) for panel in found] == [
        ("stays", "learning_rate"),
        ("stays", "weight_decay"),
        ("moves", "learning_rate"),
        ("moves", "weight_decay"),
    ]
    for panel in found:
        assert [line.width for line in panel.lines] == [32, 64, 128]
    rates = found[2].lines[2]
    assert rates.x == [float(x) for x in range(-10, -2)]
    assert rates.y[-1] is None
    assert rates.optimum is not None
    assert rates.optimum[0] == pytest.approx(-7.2, abs=0.2)
    low, high = loss_range(scores)
    assert all(
        low < min(y for y in line.y if y is not None) < high for panel in found for line in panel.lines
    )
