"""The page of messages against the source that raises them, and how both are read."""

import json
import textwrap

import pytest
from absl import logging
from error_page import MET, PAGE, merged, page, site_of, stable
from error_sites import PART, sites
from helpers.messages import Recorder, met

from mupwd import PlanError, recipes
from mupwd.commands.main import main
from mupwd.plan.store import load

AGAIN = (
    "run `python scripts/errors/error_page.py`, with what `pytest --errors=FILE` recorded of a new message"
)


@pytest.fixture(scope="module")
def known():
    return sites()


@pytest.fixture(scope="module")
def recorded():
    return json.loads(MET.read_text(encoding="utf-8"))


def test_the_page_is_that_of_the_source(known, recorded):
    assert PAGE.read_text(encoding="utf-8") == page(known, recorded), AGAIN


def test_what_tests_met_is_still_raised(known, recorded):
    keys = {(site.module, site.key) for site in known}
    gone = [
        f"{module}: {key}" for module, found in recorded.items() for key in found if (module, key) not in keys
    ]
    assert gone == [], AGAIN


def test_what_tests_met_is_made_of_its_template(known, recorded):
    for site in known:
        shown = recorded.get(site.module, {}).get(site.key)
        if shown is not None:
            # Another error may hold the message; then its text is the longer one.
            assert site.within(shown.partition(": ")[2]), f"{site.key}: {shown}"


def test_most_messages_are_met_by_a_test(known, recorded):
    assert sum(map(len, recorded.values())) > 0.85 * len(known)


def source(tmp_path, text, module="some.py"):
    file = tmp_path / "mupwd" / module
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text))
    return [(site.kind, site.text) for site in sites(tmp_path)]


def test_the_text_of_an_f_string_has_holes(tmp_path):
    text = """
    AGAIN = "make it again"
    def f(name, value):
        raise ValueError(f"{name}={value!r}: expected a {'wide' if value else 'small'} number" + f"; {AGAIN}")
    """
    assert source(tmp_path, text) == [("ValueError", "…=…: expected a … number; make it again")]


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ("raise PlanError('one' if x else 'two')", ["one", "two"]),
        ("words = f'no {x}'\n    raise PlanError(words)", ["no …"]),
        ("raise PlanError(why(x))", ["because …", "for no reason"]),
        ("raise made(x)", ["was made of …"]),
        ("raise PlanError(str(x))", []),
        ("raise AttributeError('of a module')", []),
    ],
)
def test_texts_are_followed_one_step(tmp_path, body, texts):
    text = f"""
def f(x):
    {body}
def why(x):
    if x:
        return f"because {{x}}"
    return "for no reason"
"""
    if "made" in body:
        text += "def made(x):\n    return PlanError(f'was made of {x}')\n"
    assert source(tmp_path, text) == [("PlanError", one) for one in texts]


def test_what_ends_a_command_and_what_warns_are_messages(tmp_path):
    text = "parser.error(f'no such {x}')\nlogging.warning('skipped %d: %s', 1, x)"
    assert source(tmp_path, text, "commands/one.py") == [
        ("command", "no such …"),
        ("warning", "skipped …: …"),
    ]


def test_reasons_of_refusals_are_parts(tmp_path):
    text = "def f():\n    problem = 'meets itself'\n    return replace(x, problem=problem)"
    assert source(tmp_path, text, "tracing/one.py") == [(PART, "meets itself")]


def test_an_error_is_recorded_with_what_it_repeats(tmp_path, known):
    file = tmp_path / "plan.json"
    file.write_text('{"format": NaN}')
    with pytest.raises(PlanError) as caught:
        load(file)
    outer, inner = met(caught.value)
    assert (outer["type"], outer["module"], outer["message"]) == (
        "PlanError",
        "mupwd/plan/store.py",
        str(caught.value),
    )
    assert (inner["type"], inner["module"], inner["message"]) == (
        "ValueError",
        "mupwd/files.py",
        "NaN is no number",
    )
    assert inner["shown"] == outer["shown"]
    (found,) = merged({}, [inner], known).values()
    assert found == {
        "ValueError: … is no number": "PlanError: …/plan.json is damaged: it is not JSON (NaN is no number); "
        "make and save the plan again"
    }


def test_a_run_records_what_is_caught_printed_and_warned_of(tmp_path):
    recorder = Recorder(tmp_path / "met.jsonl")
    recorder.pytest_sessionstart()
    try:
        with pytest.raises(ValueError, match="no recipe"):
            recipes.get("none")
        assert main(["plan", "--base", "64", "--width", "128"]) == 2
        with pytest.raises(SystemExit):
            main(["plam"])
        logging.warning("of another package")
    finally:
        recorder.pytest_sessionfinish()
    with pytest.raises(ValueError, match="no recipe"):
        recipes.get("none")
    lines = map(json.loads, (tmp_path / "met.jsonl").read_text(encoding="utf-8").splitlines())
    assert [(line["type"], line["module"], line["message"][:20]) for line in lines] == [
        ("ValueError", "mupwd/recipes/named.py", "no recipe is named '"),
        ("ValueError", "mupwd/commands/plan.py", "give either a model "),
        ("SystemExit", "mupwd/commands/main.py", "invalid choice: 'pla"),
    ]


def test_an_error_of_other_code_is_not_recorded():
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("x")
    assert list(met(caught.value)) == []


def test_of_two_sites_that_fit_the_module_and_then_the_longer_text_decides(known):
    record = {"type": "ValueError", "module": "mupwd/files.py", "message": "Infinity is no number"}
    (site,) = site_of(record, known)
    assert (site.module, site.text) == ("mupwd/files.py", "… is no number")


def test_a_message_that_is_gone_leaves(known):
    before = {
        "mupwd/files.py": {"ValueError: of old": "ValueError: of old", "ValueError: … is no number": "x: y"}
    }
    assert merged(before, [], known) == {"mupwd/files.py": {"ValueError: … is no number": "x: y"}}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/tmp/pytest-of-me/pytest-3/popen-gw1/test_that_x_0/run/plan.json: no", "…/run/plan.json: no"),
        ("at /home/me/model.py:31 (f)", "at /home/me/model.py:… (f)"),
        ("<function f at 0x7f3a1c>", "<function f at 0x…>"),
    ],
)
def test_what_differs_between_runs_is_left_out(message, shown):
    assert stable(message) == shown
