"""Which surviving mutants are printed."""

import tomllib

import mutants
import pytest

SCRIPTS = mutants.EXPLAINED.parent


@pytest.mark.parametrize(
    ("before", "after", "wording"),
    [
        ('raise ValueError("give a number")', 'raise ValueError("GIVE A NUMBER")', True),
        ('f"got {a} for this thing"', 'f"XXgot {a} for this thingXX"', True),
        ('f"got {a} for this thing"', 'f"got {b} for this thing"', False),
        ('f"got {a} for this thing" if a else ""', 'f"got {a} for this thing" if a else "XXXX"', False),
        ('role == "out"', 'role == "XXoutXX"', False),
        ("n > 3", "n >= 3", False),
    ],
)
def test_wording_is_what_changes_a_sentence_only(before, after, wording):
    one = mutants.Survivor("mupwd.plan.match.x__some__mutmut_1", before, after)
    assert one.is_wording == wording


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("mupwd.plan.match.x__some__mutmut_1", "mupwd.plan.match._some"),
        ("mupwd.plan.match.x_follow__mutmut_12", "mupwd.plan.match.follow"),
        ("mupwd.plan.plan.xǁPlanǁ__repr____mutmut_4", "mupwd.plan.plan.Plan.__repr__"),
    ],
)
def test_a_mutant_is_of_a_function(name, function):
    assert mutants.Survivor(name, "", "").function == function


def test_an_explanation_is_of_code_that_is_there():
    for entry in tomllib.loads((SCRIPTS / "mutants.toml").read_text(encoding="utf-8"))["survivor"]:
        module, _, function = entry["function"].rpartition(".")
        source = (SCRIPTS.parent / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        assert f"def {function}(" in source, entry["function"]
        assert len(entry["why"]) > 20
