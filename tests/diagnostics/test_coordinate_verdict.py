"""Verdicts on quantities whose exponent is known, and the sentences about them."""

import dataclasses
import math

import numpy as np
import pytest
from helpers.parameters import llama_plan

from mupwd.diagnostics.coordinate_result import CoordinateCheck
from mupwd.diagnostics.coordinate_result import judged as judge_runs
from mupwd.diagnostics.coordinate_runs import Run
from mupwd.diagnostics.coordinate_uses import Uses
from mupwd.diagnostics.coordinate_verdict import judged
from mupwd.diagnostics.instrument import UseStats

WIDTHS = (64, 128, 256)
UP = "layers/0/mlp/up/kernel"


def drawn(exponent, noise, seeds=4, seed=0, widths=WIDTHS):
    rng = np.random.default_rng(seed)
    return {w: 0.3 * w**exponent * np.exp2(noise * rng.normal(size=seeds)) for w in widths}


def line(exponent, noise, predicted=(0.0, 0.0), **options):
    return judged(UP, "", "change", drawn(exponent, noise, **options), predicted)


def doubtful():
    """An exponent of exactly 0.1, with an interval of ± 0.26."""
    values = {w: [0.3 * w**0.1 * 2**noise for noise in (-0.3, 0.3, -0.3, 0.3)] for w in WIDTHS}
    return judged(UP, "", "change", values, (0.0, 0.0))


def checked(*lines):
    plans = {width: llama_plan(64, width) for width in WIDTHS}
    flat = {width: np.ones((4, 3)) for width in WIDTHS}
    return CoordinateCheck(tuple(lines), plans, 4, 2, 0.95, flat, flat)


@pytest.mark.parametrize(
    ("exponent", "predicted", "verdict"),
    [
        (0.0, (0.0, 0.0), "pass"),
        (0.15, (0.0, 0.0), "pass"),
        (0.5, (0.0, 0.0), "fail"),
        (-0.5, (0.0, 0.0), "fail"),
        (1.0, (0.0, 0.0), "fail"),
        (-0.5, (-0.5, -0.5), "pass"),
        (0.0, (-0.5, -0.5), "fail"),
        (-0.6, (-0.5, 0.0), "pass"),
        (0.1, (-0.5, 0.0), "pass"),
        (0.5, (-0.5, 0.0), "fail"),
    ],
)
def test_clear_cases(exponent, predicted, verdict):
    found = line(exponent, 0.05, predicted)
    assert found.verdict == verdict
    assert found.exponent == pytest.approx(exponent, abs=0.1)
    assert found.interval[0] < found.exponent < found.interval[1]


def test_equal_values_leave_no_doubt():
    found = judged("norm/scale", "", "initial gain", {w: [1.0] * 4 for w in WIDTHS}, (0.0, 0.0))
    assert (found.verdict, found.exponent) == ("pass", 0.0)


def test_the_more_runs_that_are_advised_decide():
    """With as many seeds, or widths, as it asks for, most of new draws are decided, and rightly."""
    found = doubtful()
    assert found.verdict == "undecided"
    assert found.more_seeds > 0
    assert found.more_widths > 0
    wider = tuple(64 * 2**n for n in range(3 + found.more_widths))
    for options in ({"seeds": 4 + found.more_seeds}, {"widths": wider}):
        verdicts = [line(found.exponent, 0.3, seed=seed, **options).verdict for seed in range(1, 101)]
        assert verdicts.count("fail") == 0
        assert verdicts.count("pass") > 70


def test_wrong_verdicts_are_as_rare_as_the_level_says():
    """At the border itself an interval is wholly on one side in 2.5% of draws each."""
    verdicts = [line(0.25, 0.1, seed=seed).verdict for seed in range(200)]
    assert verdicts.count("pass") <= 12
    assert verdicts.count("fail") <= 12


def test_a_mistake_of_one_half_does_not_pass_in_noise():
    assert "pass" not in {line(0.5, 0.5, seed=seed).verdict for seed in range(100)}


def test_zeros_and_numbers_that_are_none():
    zero = judged(UP, "", "initial gain", {w: [0.0] * 2 for w in WIDTHS}, (0.0, 0.0))
    assert (zero.verdict, zero.note) == (None, "starts at zero")
    still = judged(UP, "", "change", {w: [0.0] * 2 for w in WIDTHS}, (0.0, 0.0))
    assert (still.verdict, still.note) == (None, "does not move")
    some = judged(UP, "", "change", {64: [1.0, 1.0], 128: [1.0, 0.0], 256: [1.0, 1.0]}, (0.0, 0.0))
    assert (some.verdict, some.note) == ("fail", "zero at width 128, and not at the others")
    broken = judged(UP, "", "change", {64: [1.0], 128: [math.inf], 256: [math.nan]}, (0.0, 0.0))
    assert (broken.verdict, broken.note) == ("fail", "not finite at width 128, 256")
    untaken = judged(UP, "", "change", {w: [math.nan] for w in WIDTHS}, (0.0, 0.0))
    assert (untaken.verdict, untaken.note) == (None, "in a branch that did not run")


def test_the_verdict_of_all():
    passes, fails, open_ = line(0, 0.05), line(1, 0.05), doubtful()
    zero = dataclasses.replace(passes, verdict=None)
    assert checked(passes, zero).verdict == "pass"
    assert checked(passes, open_).verdict == "undecided"
    assert checked(passes, open_, fails).verdict == "fail"
    assert checked(zero).verdict == "undecided"
    assert checked().verdict == "undecided"


def test_lines_by_path():
    check = checked(line(0, 0.05))
    assert check[UP] == check.lines
    with pytest.raises(KeyError, match=r"gate: the check has no line of that name; it has layers/0/mlp/up"):
        check["gate"]


def test_what_a_failure_says():
    values = {w: [w, w] for w in WIDTHS}
    text = str(checked(judged(UP, "", "change", values, (0.0, 0.0))))
    assert text.splitlines()[0] == (
        "coordinate check: recipe mupwd, folded form, widths 64, 128, 256, 4 seeds, 2 steps"
    )
    assert (
        f"✗ {UP}: its change goes as width^+1.00, too large by width; by the rule the learning rate of this matrix is "
        "proportional to m_in^-1. The plan has learning rate × (1, 0.5, 0.25), eps × (1, 0.5, 0.25)"
    ) in text
    assert "✗ fail: 1 of 1 quantities\n" in text


def test_what_an_undecided_line_says():
    found = doubtful()
    text = str(checked(found))
    assert f"{found.more_seeds} more seed" in text
    assert f"(seeds={4 + found.more_seeds})" in text
    assert "(512" in text
    border = dataclasses.replace(found, more_seeds=None, more_widths=None)
    assert "it lies too near the border" in str(checked(border))


def measured(exponents):
    """Two seeds per width whose gains and changes are exactly these powers of width: `{path: (gain, change)}`."""
    runs = {}
    for width in WIDTHS:
        one, two = np.ones(2), np.array([0.0, 1.0])
        stats = {
            path: [UseStats(one, one, one * float(width) ** gain, one, two * float(width) ** change)]
            for path, (gain, change) in exponents.items()
        }
        runs[width] = [Run(one, one, stats, {})] * 2
    uses = Uses({path: ["product"] for path in exponents}, {})
    plans = {width: llama_plan(64, width, layers=1) for width in WIDTHS}
    return judge_runs(runs, plans, dict.fromkeys(WIDTHS, uses))


def test_what_may_follow_from_a_wrong_initial_gain_is_not_blamed():
    value, query, down = (
        "layers/0/attention/v/kernel",
        "layers/0/attention/q/kernel",
        "layers/0/mlp/down/kernel",
    )
    alone = measured({query: (0, 0.4), down: (0, 1), value: (-0.5, 0)})
    assert alone.failed == [query, down]
    check = measured({query: (0, 0.4), down: (0, 1), value: (0.5, 0.4)})
    assert check.failed == [value, down]
    assert (check[query][1].verdict, check[query][1].note) == ("undecided", "an initial gain fails")
    assert f"? {query}: its change goes as width^+0.40, which may follow from what fails above" in str(check)


def test_runs_are_judged_by_the_last_step_at_which_all_were_finite():
    check = measured({UP: (0, 0)})
    runs = {
        width: [Run(np.array([1.0, np.nan if width == 128 else 1.0]), np.ones(2), {UP: [_nothing()]}, {})]
        for width in WIDTHS
    }
    lost = judge_runs(runs, check.plans, dict.fromkeys(WIDTHS, Uses({UP: ["product"]}, {})))
    assert lost.verdict == "fail"
    assert [line.quantity for line in lost.lines] == ["initial gain"]
    assert lost.diverged == ((128, 0, 1),)
    assert "the loss was not finite at width 128, seed 0, step 1" in str(lost)


def _nothing():
    return UseStats(*[np.ones(2)] * 5)


def test_a_picture(tmp_path):
    checks = checked(line(0, 0.05)), checked(line(1, 0.05), doubtful())
    checks[0].plot(tmp_path / "both.png", checks[1])
    assert (tmp_path / "both.png").read_bytes()[:4] == b"\x89PNG"
    checks[0].plot(str(tmp_path / "one.svg"))
    assert "<svg" in (tmp_path / "one.svg").read_text()


def test_a_picture_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mupwd\[proxy\]'"):
        checked(line(0, 0.05)).plot(tmp_path / "none.png")
