"""The page in a real browser: what it draws, says, asks for and remembers."""

import json
import shutil

import pytest
from helpers.logs import write_run, write_sweep

from mupwd.report.collect import collect
from mupwd.report.page import page
from mupwd.report.payload import payload

PANELS = ["verdict", "loss", "sigma", "widths", "shapes", "geometry", "coordinates", "health", "manifest"]
HOSTILE = """</script><img src=x onerror="window.hit=1"><b>'%{x}'"&lt; \n é ‮"""


def write_page(directory, *directories):
    file = directory / "report.html"
    file.write_text(page(collect(directories)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    directory = tmp_path_factory.mktemp("page")
    write_sweep(directory / "sweep", grows=0.5)
    lines = [
        {
            "path": f"layers/{i}/up",
            "use": "",
            "quantity": "change",
            "predicted": [0.0, 0.0],
            "exponent": 0.1 + 0.6 * i,
            "interval": [0.6 * i, 0.2 + 0.6 * i],
            "verdict": ("pass", "fail")[i],
            "note": "",
        }
        for i in (0, 1)
    ]
    check = {"verdict": "fail", "failed": ["layers/1/up"], "lines": lines}
    (directory / "sweep" / "coordinates.json").write_text(json.dumps(check))
    return write_page(directory, directory / "sweep")


def test_it_opens_from_disk_asks_for_nothing_and_says_the_verdict(opened, file):
    opened.go(file)
    text = opened.page.inner_text("#panel-verdict")
    for words in (
        "stays\n ✓ transfers",
        "✗ drifts",
        "best learning rate drifts",
        "layers/1/up fails the coordinate check",
    ):
        assert words.split("\n")[-1].strip() in text
    assert [one.get_attribute("id") for one in opened.page.query_selector_all("section")] == [
        f"panel-{name}" for name in PANELS
    ]
    assert opened.quiet(), (opened.requests, opened.complaints)


def test_every_plot_is_drawn(opened, file):
    opened.go(file)
    # A curve, its optimum and where it diverged, of three widths; no divergence along the decay.
    learning_rate = opened.traces("loss-learning_rate")
    assert len(learning_rate) == 2
    assert all(6 <= count <= 9 for count in learning_rate)
    assert len(opened.traces("heat")) == 6
    # Two seeds of three widths, and theory.
    assert opened.traces("sigma") == [7, 7]
    # Points of three widths, the fit, theory and its band.
    assert opened.traces("width") == [6, 6]
    assert opened.traces("shapes") == [6, 6]
    assert opened.traces("geometry-angle") == [6, 6]
    assert opened.traces("coordinates") == [2]
    kinds = opened.page.evaluate(
        "['sigma', 'width'].map((name) => { const one = document.querySelector(`[data-plot=${name}]`).layout;"
        " return [one.xaxis.type, one.yaxis.type]; })"
    )
    assert kinds == [["linear", "log"], ["log", "log"]]
    assert opened.quiet(), opened.complaints


def test_a_choice_counts_in_all_panels_and_is_in_the_address(opened, file):
    opened.go(file)
    opened.page.click("#bar button[data-width='64']")
    opened.page.click("#bar button:has-text('moves')")
    opened.page.select_option("#bar select[aria-label=layer]", "layers/1/mlp/down/kernel")
    opened.page.click("button:has-text('raw')")
    assert opened.traces("sigma") == [4 + 2]  # in raw units theory is a line per width
    assert opened.traces("loss-learning_rate")[0] in (4, 5, 6)
    assert len(opened.traces("heat")) == 2
    address = opened.page.evaluate("location.hash")
    assert "layer=layers%2F1%2Fmlp%2Fdown%2Fkernel" in address
    again = opened.page.context.new_page()
    again.goto(file.as_uri() + address)
    again.wait_for_selector("html[data-ready]")
    assert again.get_attribute("#bar button[data-width='64']", "aria-pressed") == "false"
    assert again.input_value("#bar select[aria-label=layer]") == "layers/1/mlp/down/kernel"
    assert again.query_selector("#panel-verdict .card[data-recipe=moves]") is None


def test_it_can_be_used_from_the_keyboard(opened, file):
    opened.go(file)
    before = opened.page.input_value("#bar select[aria-label=layer]")
    opened.page.keyboard.press("]")
    assert opened.page.input_value("#bar select[aria-label=layer]") != before
    opened.page.focus("#bar button[data-width='32']")
    opened.page.keyboard.press("Enter")
    assert opened.page.get_attribute("#bar button[data-width='32']", "aria-pressed") == "false"
    assert opened.page.evaluate("document.activeElement.dataset.width") == "32"
    opened.page.focus("#panel-widths tr.pick:nth-child(2)")
    opened.page.keyboard.press("Enter")
    row = opened.page.query_selector("#panel-widths tr.pick[aria-selected=true] th")
    assert row is not None
    assert opened.page.input_value("#bar select[aria-label=layer]") == row.inner_text()


def test_both_themes_and_all_sizes(opened, file):
    for width in (360, 3840):
        opened.page.set_viewport_size({"width": width, "height": 900})
        opened.go(file)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.page.click("#theme")
    dark = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    opened.page.click("#theme")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_new_data_are_drawn_and_the_choice_stays(opened, file, tmp_path):
    opened.go(file, "#hide=64")
    write_run(tmp_path / "run", 256)
    found = payload(collect([tmp_path / "run"]))
    opened.page.evaluate("(payload) => mupwdUpdate(payload)", found)
    assert "width 256" in opened.page.inner_text("#bar")
    opened.page.evaluate("(payload) => mupwdUpdate(payload)", payload(collect([file.parent / "sweep"])))
    assert opened.page.get_attribute("#bar button[data-width='64']", "aria-pressed") == "false"


def test_hostile_names_are_shown_as_text(opened, tmp_path):
    folder = "<b>'\"&é"
    run = tmp_path / folder
    write_run(run, 32)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["run"]["recipe"] = HOSTILE + "x" * 10_000
    manifest["environment"] = {HOSTILE: {HOSTILE: HOSTILE}}
    (run / "manifest.json").write_text(json.dumps(manifest))
    names = {
        f"spectral/{HOSTILE}{'y' * 10_000}/sigma_1": 1.0,
        f"gain/{HOSTILE}": 2.0,
        f"spectral/{HOSTILE}/sigma_1": "nan",
    }
    with (run / "metrics.jsonl").open("a") as log:
        log.writelines(json.dumps({"step": step, **names, "train/loss": "inf"}) + "\n" for step in (500, 501))
    shutil.copytree(run, tmp_path / "x")
    opened.go(write_page(tmp_path, run, tmp_path / "x"))
    for value in opened.page.eval_on_selector_all(
        "#bar select[aria-label=layer] option", "some => some.map((one) => one.value)"
    ):
        opened.page.select_option("#bar select[aria-label=layer]", value)
        assert opened.traces("sigma")
    opened.traces("steps")
    assert opened.page.query_selector_all("img, b") == []
    assert opened.page.evaluate("window.hit") is None
    assert "onerror" in opened.page.inner_text("#panel-manifest")
    assert opened.quiet(), opened.complaints


def test_a_run_of_one_point_and_an_empty_one(opened, tmp_path):
    write_run(tmp_path / "one", 32)
    log = tmp_path / "one" / "metrics.jsonl"
    log.write_bytes(log.read_bytes().split(b"\n")[0] + b"\n")
    write_run(tmp_path / "none", 64)
    (tmp_path / "none" / "metrics.jsonl").write_bytes(b"")
    opened.go(write_page(tmp_path, tmp_path / "one", tmp_path / "none"))
    assert opened.traces("sigma") == [1]  # no theory: there is no other width
    assert "It takes finished runs" in opened.page.inner_text("#panel-verdict").replace(
        "it takes", "It takes"
    )
    assert opened.quiet(), opened.complaints


def test_on_paper_every_plot_is_there_and_the_page_is_light(opened, file):
    opened.go(file, "#theme=dark")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.page.evaluate("[...document.querySelectorAll('.plot')].every((plot) => plot.data)")
    assert opened.page.evaluate("document.documentElement.dataset.theme") == "light"
    drawn = "[...new Set([...document.querySelector('[data-plot=sigma]').data].map((one) => one.line.color))]"
    assert set(opened.page.evaluate(f"{drawn}.filter((one) => colours.dark.includes(one))")) == set()
    opened.page.emulate_media(media="print")
    assert opened.page.is_visible("#bar button[data-width='64']")
    assert not opened.page.is_visible("#bar select[aria-label=layer]")
    opened.page.emulate_media(media="screen")
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert opened.quiet(), opened.complaints


def test_what_cannot_be_drawn_costs_itself_alone(opened, file, tmp_path):
    found = payload(collect([file.parent / "sweep"]))
    found["checks"][0]["found"]["lines"] = [
        {"verdict": "pass", "path": "w", "quantity": "change", "interval": ["nan", 1]}
    ]
    found["manifest"] = [None]
    opened.go(file, "#theme=sepia")
    opened.page.evaluate("(payload) => mupwdUpdate(payload)", found)
    assert "This panel cannot be drawn" in opened.page.inner_text("#panel-manifest")
    assert "✓ transfers" in opened.page.inner_text("#panel-verdict")
    assert opened.traces("sigma") == [7, 7]
    opened.page.evaluate(
        "(payload) => mupwdUpdate({ ...payload, numbers: { count: 1, planes: 'AAAA' } })", found
    )
    assert "cannot unpack the page's numbers" in opened.page.inner_text("main")
    assert opened.quiet(), opened.complaints


def test_new_data_leave_a_zoom_and_what_was_opened(opened, file):
    found = payload(collect([file.parent / "sweep"]))
    opened.go(file)
    opened.page.click("#panel-manifest details:nth-of-type(2) summary")
    assert opened.traces("sigma")
    plot = opened.page.query_selector("[data-plot=sigma]")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    opened.page.mouse.move(box["x"] + 120, box["y"] + 100)
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + 220, box["y"] + 200, steps=5)
    opened.page.mouse.up()
    zoomed = plot.evaluate("plot => plot.layout.xaxis.range")
    opened.page.evaluate("(payload) => mupwdUpdate(payload)", found)
    assert opened.traces("sigma")
    assert (
        opened.page.query_selector("[data-plot=sigma]").evaluate("plot => plot.layout.xaxis.range") == zoomed
    )
    opened_details = "[...document.querySelectorAll('#panel-manifest details')].map((one) => one.open)"
    assert opened.page.evaluate(opened_details) == [False, True]
    opened.page.keyboard.press("]")
    assert opened.traces("sigma")
    assert (
        opened.page.query_selector("[data-plot=sigma]").evaluate("plot => plot.layout.xaxis.range") != zoomed
    )


def test_widths_beyond_the_sixth_have_their_own_marks(opened, tmp_path):
    for index in range(7):
        write_run(tmp_path / f"run{index}", 32 * (index + 1), steps=40, every=20)
    opened.go(write_page(tmp_path, *(tmp_path / f"run{index}" for index in range(7))))
    marks = opened.page.evaluate("data.widths.map((width) => colour(width) + symbol(width))")
    assert len(set(marks)) == 7
    opened.page.keyboard.press("Control+Alt+]")
    assert "layer=" not in opened.page.evaluate("location.hash")
