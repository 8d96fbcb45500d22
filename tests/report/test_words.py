"""What the sentences say, and that they say when nothing is known."""

import io
import math
import re
import shlex
from dataclasses import replace

import pytest
from helpers.scores import make_scores, make_setting
from helpers.synthetic import observation
from rich.console import Console

from mupwd.proxy.manifest import open_manifest
from mupwd.report.collect import Group
from mupwd.report.measures import print_measures
from mupwd.report.next_steps import next_steps
from mupwd.report.payload import payload
from mupwd.report.setting import study_setting
from mupwd.report.terminal import PatientConsole, print_scorecard
from mupwd.report.units import units_said
from mupwd.report.words import (
    comparison,
    estimate_words,
    horizon_words,
    optimum_words,
    regret_words,
    sentences,
    short_drift,
    tuned_words,
)
from mupwd.sweep.declare import Sweep
from mupwd.sweep.trial import LOSS, Result
from mupwd.transfer import Estimate, Optimum, scorecard


@pytest.fixture(scope="module")
def scores():
    return make_scores()


def test_a_recipe_that_transfers(scores):
    found = sentences(scores["stays"])
    assert [one.mark for one in found] == ["good"] * 3
    assert found[0].text.startswith("best learning rate stays: ")
    assert "octaves per doubling of width" in found[0].text
    assert short_drift(scores["stays"].learning_rate_drift).text.startswith("stays (")


def test_an_independent_decay_has_a_timescale_of_its_own_and_is_called_so(scores):
    score = scores["stays"]
    rate, decay = score.tuned
    coupled, independent = (make_setting(scores, decay=kind) for kind in ("coupled", "independent"))
    assert f"1/(lr·wd) of a matrix: {1 / (rate * decay):,.0f} steps" in horizon_words(
        score, coupled, units_said(coupled, score)
    )
    assert f"1/wd of a matrix: {1 / decay:,.0f} steps" in horizon_words(
        score, independent, units_said(independent, score)
    )
    for setting, name in ((coupled, "weight decay (coupled)"), (independent, "weight decay (independent)")):
        found = payload([Group("sweep", scores=scores, setting=setting)])
        assert found["loss"][0]["axes"]["weight_decay"] == name


def test_what_is_measured_besides_is_printed_whole_or_with_its_reason(scores):
    console = Console(file=io.StringIO(), width=60, emoji=False)
    print_measures(console, scores)
    text = console.file.getvalue()
    for width, one in scores["stays"].widths.items():
        assert re.search(rf"stays +{width} .*{re.escape(optimum_words(one.joint.learning_rate))}", text)
    assert "stays: best learning rate: fit error of its power law" in text
    assert "not measured: tuning_gain: " in text
    assert "…" not in text


def test_a_recipe_that_drifts(scores):
    found = sentences(scores["moves"])
    assert [one.mark for one in found] == ["bad", "good", "bad"]
    assert found[0].text.startswith("best learning rate drifts: -1.0")
    assert "tuning there would have won" in found[2].text
    assert "(learning rate 2^-7, decay 2^-2)" in found[2].text


def test_an_edge_is_said_with_its_direction():
    scores = make_scores(lowest=-6)
    optimum = scores["moves"].widths[128].learning_rate.optimum
    assert optimum_words(optimum) == "≤ 2^-6, edge: go lower"
    drift = sentences(scores["moves"])[0]
    assert drift.mark == "open"
    assert "undecided; at width 64, 128 the best value is the lowest of the grid" in drift.text


def test_one_seed_is_not_called_a_finding():
    one_seed = make_scores(widths=(32, 64), seeds=(0,))["moves"]
    assert "noise unknown" in regret_words(one_seed).text


def test_noise_is_said_to_be_noise(scores):
    assert comparison(scores)[0].mark == "good"
    swapped = {"moves": scores["moves"], "stays": scores["stays"]}
    assert comparison(swapped)[0].mark == "bad"
    same = comparison({"a": scores["stays"], "b": scores["stays"]})[0]
    assert same.mark == "open"
    assert same.text.endswith("within noise")


@pytest.mark.parametrize(
    ("lost", "mark", "words"),
    [
        (("moves",), "good", "moves's pair diverges"),
        (("stays",), "bad", "stays's pair diverges"),
        (("moves", "stays"), "open", "stays's and moves's pair diverges"),
    ],
)
def test_a_rival_that_diverges_is_no_noise(scores, lost, mark, words):
    """Of one recipe that diverges at the target the other is better, with one seed or many."""
    found = {name: scores[name] for name in ("stays", "moves")}
    for name in lost:
        seeds = dict(found[name].transferred)
        seeds[0] = math.inf
        found[name] = replace(found[name], transferred=seeds)
    (said,) = comparison(found)
    assert (said.mark, said.text) == (mark, f"tuned at width 32 and applied at width 128, {words}")


def test_of_one_width_nothing_is_said_of_another():
    narrow = make_scores(widths=(64,))
    assert [one.mark for one in sentences(narrow["stays"])] == ["open"]
    assert comparison(narrow)[0].text.startswith("tuned at width 64, stays's loss minus moves's is ")
    setting = make_setting(narrow)
    assert "at width 64; the runs have 500 steps" in horizon_words(
        narrow["stays"], setting, units_said(setting, narrow["stays"])
    )
    console = Console(file=io.StringIO(), width=100, emoji=False)
    print_scorecard(console, narrow, setting)
    print_measures(console, narrow)
    assert "applied" not in console.file.getvalue()


def test_recipes_of_other_targets_are_not_compared(scores):
    """All trials of one recipe at the widest width may have failed; a sweep ends with what there is."""
    other = make_scores(widths=(32, 64), seeds=(0,))["moves"]
    assert comparison({"stays": scores["stays"], "moves": other}) == []
    assert comparison({}) == []
    out = io.StringIO()
    print_scorecard(
        PatientConsole(file=out), {"stays": scores["stays"], "moves": other}, make_setting(scores)
    )
    assert "Losses are" in out.getvalue()


def test_the_command_for_the_next_step_can_be_pasted(scores):
    """A recipe with an exponent has brackets, which a shell reads."""
    score = replace(scores["stays"], recipe="fitted(0.8)")
    (command,) = [
        one.partition(": ")[2] for one in next_steps(score, 32, {}, [], [], []) if "mupwd plan" in one
    ]
    assert shlex.split(command)[7] == "fitted(0.8)"


def test_a_tuned_pair_that_diverges_at_the_target_is_said_to():
    table = [
        observation("moves", width, 2.0**rate, 2.0**decay, seed)
        for width in (32, 1024)
        for rate in range(-12, -3)
        for decay in (-4, -2, 0)
        for seed in (0, 1)
    ]
    score = scorecard(table)["moves"]
    assert math.isinf(score.transferred[0])
    assert regret_words(score).text == "at width 1024 the tuned pair diverges"


def test_horizon_and_tuned(scores):
    setting = make_setting(scores)
    assert horizon_words(scores["stays"], setting, units_said(setting, scores["stays"])) == (
        "decay timescale 1/(lr·wd) of a matrix: 128 steps at width 32, 256 at width 128; the runs have 500 steps"
    )
    assert (
        tuned_words(scores["stays"], 32)
        == "tuned at width 32: learning rate 2^-5 = 0.0312, weight decay 2^-2 = 0.25"
    )


def test_a_sweep_says_what_its_numbers_are_relative_to(tmp_path):
    sweep = Sweep((64, 128, 256), (2**-6, 2**-5, 2**-4), (0.25,), base=32, steps=100)
    open_manifest(tmp_path, {"corpus": {"source": "stdlib", "sha256": "ab" * 32}})
    # The widest width has not run yet.
    results = [
        Result(one, {LOSS: 2.0 + one.hyperparameters["learning_rate"]}, 1.0)
        for one in sweep.trials
        if one.width < 256
    ]
    setting = study_setting(sweep, results, tmp_path, "mupwd sweep")
    assert setting.base == 32
    assert setting.tuned_matrix["mupwd"] == (0.5, pytest.approx(2**0.5))
    assert setting.matrix["mupwd"] == (0.25, pytest.approx(2.0))
    console = Console(file=io.StringIO(), width=200, emoji=False)
    print_scorecard(console, scorecard([one.observation() for one in results]), setting)
    text = console.file.getvalue()
    assert "tuned at width 64, in units of base 32: learning rate 2^-6" in text
    # 1 / (2^-6 · 2^-2) = 256 steps at width 32.
    assert "362 steps at width 64, 512 at width 128" in text


def test_what_no_rule_covers_is_said(tmp_path):
    sizes = {"batch_size": 4, "sequence_length": 16}
    grid = {
        "learning_rates": (2**-6, 2**-5, 2**-4),
        "weight_decays": (0.25,),
        "recipes": ("mupwd", "completed_p"),
    }
    sweep = Sweep((32, 64), **grid, tokens_per_parameter=0.1, hyperparameters=sizes, seeds=(0,))
    open_manifest(tmp_path, {"corpus": {"source": "stdlib", "sha256": "ab" * 32}})
    results = [Result(one, {LOSS: 2.0 + one.hyperparameters["learning_rate"]}, 1.0) for one in sweep.trials]
    setting = study_setting(sweep, results, tmp_path, "mupwd sweep")
    assert setting.notices.keys() == {"mupwd"}
    scores = scorecard([one.observation() for one in results])
    console = Console(file=io.StringIO(), width=200, emoji=False)
    print_scorecard(console, scores, setting)
    (said,) = [line for line in console.file.getvalue().splitlines() if "has no rule for it" in line]
    assert said.startswith("  ? training tokens ×3.22: ")
    cards = payload([Group("sweep", scores=scores, setting=setting)])["verdicts"]
    assert [any("has no rule" in one["text"] for one in card["sentences"]) for card in cards] == [True, False]
    assert setting.ratios == {"token_ratio": pytest.approx(3.22, abs=0.01)}


def test_the_command_for_the_next_step_covers_what_else_differs(scores):
    setting = make_setting(scores, ratios={"token_ratio": 4.0, "depth_ratio": 2.0})
    (card, _) = payload([Group("sweep", scores=scores, setting=setting)])["verdicts"]
    (command,) = [one for one in card["next"] if "mupwd plan" in one]
    assert command.endswith("--weight_decay 0.25 --token_ratio 4 --depth_ratio 2 package.module:build")


def test_numbers():
    assert estimate_words(Estimate(0.01234, (-0.001, 0.03))) == "0.012 [-0.001, +0.030]"
    assert estimate_words(Estimate(-0.5, None), signed=True) == "-0.500 (noise unknown)"
    assert optimum_words(None) == "not measured"
    assert optimum_words(Optimum(-5.125, (-5.5, -5.0), None, -5.0)) == "2^-5.12 [-5.50, -5.00]"
    assert optimum_words(Optimum(-5.0, (-6.0, -4.0), "flat", -5.0)) == "2^-5 [-6.00, -4.00] (flat)"


def test_the_terminal_shows_all_of_it_in_80_columns(scores):
    console = Console(width=80, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    with console.file:
        print_scorecard(
            console,
            {"[bold]odd[/bold]": scores["stays"], "moves": scores["moves"]},
            make_setting({"stays": scores["stays"], "moves": scores["moves"]}),
        )
        text = console.export_text()
    assert "best learning rate drifts" in text
    table = [line for line in text.splitlines() if line.strip().startswith(("width", "32 ", "64 ", "128 "))]
    assert len(table) == 8
    assert max(map(len, table)) <= 84


def test_a_reader_that_has_seen_enough_ends_no_command():
    class Gone(io.StringIO):
        def write(self, _):
            raise BrokenPipeError

    console = PatientConsole(file=Gone())
    console.print("read by nobody")
    console.print("nor this")
    assert console.quiet
