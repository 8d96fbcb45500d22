"""The cards: whose units numbers are in, and that failure and ignorance are not hidden."""

import dataclasses
import json
import math

import pytest
from helpers.logs import write_run, write_sweep, write_trial
from helpers.scores import make_scores
from helpers.synthetic import observation

from mupwd.report.collect import collect
from mupwd.report.page import report_page
from mupwd.report.payload import payload
from mupwd.report.runs import Group
from mupwd.report.words import regret_words
from mupwd.sweep.trial import Trial
from mupwd.transfer import scorecard


@pytest.fixture(scope="module")
def scores():
    return make_scores()


def texts(card):
    return [one["text"] for one in card["sentences"]]


def write_trials(directory, widths, rates, decays, seeds=(0, 1), recipe="stays", loss=None):
    """Writes a sweep of a model of one's own."""
    (directory / "trials").mkdir(parents=True)
    for width in widths:
        for rate in rates:
            for decay in decays:
                for seed in seeds:
                    given = {
                        "learning_rate": 2.0**rate,
                        "weight_decay": decay,
                        "recipe": recipe,
                        "base": widths[0],
                    }
                    metrics = None if loss is None else {"eval/loss": loss(width, rate, decay, seed)}
                    write_trial(directory / "trials", width, given, seed, metrics=metrics)
    return directory


def test_a_base_that_is_no_width_of_the_sweep_is_the_unit_of_its_numbers(tmp_path):
    write_sweep(tmp_path / "sweep", ("stays",), widths=(128, 256, 512), base=32)
    found = payload(collect([tmp_path / "sweep"]))
    (card,) = found["verdicts"]
    assert (card["base"], card["tuned_at"], card["target"]) == (32, 128, 512)
    assert card["tuned"].startswith("tuned at width 128, in units of base 32: learning rate 2^-5 = 0.0312")
    assert any("; this recipe sets m^0.50" in one for one in texts(card))
    # At width 128 a matrix's learning rate is a quarter of 2^-5, and its decay twice 2^-2.
    assert "256 steps at width 128, 512 at width 512" in card["horizon"]
    assert any("mupwd plan --base 32 --width 512" in one for one in card["next"])
    assert [one["base"] for one in found["loss"]] == [32]


def test_a_width_that_is_still_running_does_not_count_as_the_target(tmp_path):
    write_sweep(tmp_path / "sweep", ("stays",))
    write_run(tmp_path / "sweep" / "trials" / "running", 1024, "stays", {"base": 32})
    (card,) = payload(collect([tmp_path / "sweep"]))["verdicts"]
    assert card["target"] == 128
    assert any("; this recipe sets m^0.50" in one for one in texts(card))
    assert "128 steps at width 32, 256 at width 128" in card["horizon"]


def test_a_recipe_that_diverges_at_a_width_has_a_card(tmp_path):
    directory = tmp_path / "sweep"
    write_sweep(directory)
    for file in (directory / "trials").glob("*.json"):
        result = json.loads(file.read_text())
        if result["hyperparameters"]["recipe"] == "moves" and result["width"] == 128:
            file.write_text(json.dumps({**result, "metrics": {"status": "diverged", "eval/loss": "nan"}}))
    cards = {card["label"]: card for card in payload(collect([directory]))["verdicts"]}
    assert (cards["moves"]["mark"], cards["moves"]["word"]) == ("bad", "diverges")
    assert texts(cards["moves"]) == [
        "Training broke down at width 128: all 56 runs that ended there diverged"
    ]
    assert cards["moves"]["next"] == ["run lower learning rates at width 128", "recipe stays transfers here"]
    assert "rows" not in cards["moves"]
    assert cards["stays"]["word"] == "transfers"


def test_a_sweep_that_has_not_got_far_says_what_is_missing(tmp_path):
    directory = tmp_path / "sweep"
    write_sweep(directory, ("stays",))
    for file in (directory / "trials").glob("*.json"):
        result = json.loads(file.read_text())
        if result["width"] == 128 and result["hyperparameters"]["learning_rate"] != 2**-9:
            file.unlink()
    (card,) = payload(collect([directory]))["verdicts"]
    assert (card["mark"], card["word"]) == ("open", "undecided")
    assert texts(card) == [
        "Not known yet: the best pair of width 32 (learning rate 2^-5, weight decay 2^-2) has not run at width 128 "
        "with every seed"
    ]


def test_runs_of_one_width_and_runs_without_a_decay_say_what_they_lack(tmp_path):
    for name, width, about in (
        ("a", 32, {}),
        ("b", 64, {"weight_decay": None}),
        ("c", 32, {"weight_decay": None}),
    ):
        write_run(tmp_path / name, width, about=about)
        (tmp_path / name / "result.json").write_text(json.dumps({"status": "finished", "eval/loss": 2.0}))
    found = payload(collect([tmp_path / "a"]))
    (card,) = found["verdicts"]
    assert (card["mark"], card["word"], found["title"]) == ("open", "one width", "Tuned at width 32")
    assert texts(card) == [
        "width 32 ran alone: this is the best pair there, and whether it holds at other widths is not known"
    ]
    assert "mupwd sweep DIR --widths 32,64" in card["next"][0]
    assert (card["tuned_at"], card["target"], card["regret"]["text"]) == (32, 32, "undecided")
    assert found["loss"][0]["panels"]
    (card,) = payload(collect([tmp_path / "b", tmp_path / "c"]))["verdicts"]
    assert "do not say their weight decay" in texts(card)[0]


def test_trials_of_several_bases_are_not_judged_together(tmp_path):
    directory = tmp_path / "sweep"
    write_sweep(directory, ("stays",))
    file = sorted((directory / "trials").glob("*.json"))[0]
    given = {**json.loads(file.read_text())["hyperparameters"], "base": 64}
    write_trial(directory / "trials", 64, given, 0)
    (card,) = payload(collect([directory]))["verdicts"]
    assert any("its runs have bases 32, 64" in one for one in texts(card))
    assert "rows" not in card


def test_a_regret_of_the_tuned_pair_against_itself_is_no_good_news():
    def judged(seeds, wide):
        pairs = {32: [(rate, decay) for rate in (-6, -5, -4) for decay in (-4, -2, 0)], 64: wide}
        return scorecard(
            observation("stays", width, 2.0**rate, 2.0**decay, seed)
            for width, some in pairs.items()
            for rate, decay in some
            for seed in seeds
        )["stays"]

    alone = regret_words(judged((0, 1), [(-5, -2)]))
    assert (alone.mark, alone.text) == ("open", "at width 64 only the tuned pair ran: regret not known")
    assert regret_words(judged((0,), [(-6, -2), (-5, -2), (-4, -2)])).mark == "open"
    assert regret_words(judged((0, 1), [(-6, -2), (-5, -2), (-4, -2)])).mark == "good"


def test_a_pair_of_which_a_seed_diverged_is_a_cross_in_the_map(tmp_path):
    directory = tmp_path / "sweep"
    write_sweep(directory, ("stays",))
    given = {"learning_rate": 2**-6, "weight_decay": 2**-4, "recipe": "stays", "base": 32}
    write_trial(directory / "trials", 64, given, 1, metrics={"status": "diverged", "eval/loss": math.nan})
    (loss,) = payload(collect([directory]))["loss"]
    heat = next(one for one in loss["heat"] if one["width"] == 64)
    assert heat["losses"][heat["decays"].index(2**-4)][heat["rates"].index(2**-6)] == "x"
    assert isinstance(heat["losses"][heat["decays"].index(2**-4)][heat["rates"].index(2**-5)], float)


def test_losses_of_models_of_ones_own_have_no_unit(tmp_path):
    own = write_trials(tmp_path / "own", (32, 64), range(-7, -3), (0.0625, 0.25, 1.0))
    found = payload(collect([own]))
    assert found["unit"] == ""
    assert "nats" not in json.dumps(found["verdicts"] + found["comparison"])
    write_sweep(tmp_path / "sweep")
    both = payload(collect([tmp_path / "sweep", own]))
    assert both["unit"] == ""
    assert "nats/token" in json.dumps(both["verdicts"][1])
    assert payload(collect([tmp_path / "sweep"]))["unit"] == "nats/token"
    # 32 to 128 and 32 to 64.
    assert both["title"] == "384 runs of sweep, own"


def test_a_best_decay_of_0_is_shown(tmp_path):
    def loss(width, rate, decay, seed):
        return 2.0 + 0.03 * (rate + 5.2) ** 2 + 0.1 * decay + 0.001 * ((seed + rate + width) % 3)

    own = write_trials(tmp_path / "own", (32, 64, 128), range(-8, -2), (0.0, 0.25, 0.5), loss=loss)
    found = payload(collect([own]))
    (card,) = found["verdicts"]
    assert card["tuned"].endswith("weight decay 0 = 0")
    assert card["rows"][0][3] == "2^-5, 0"
    (group,) = found["loss"]
    assert [panel["tuned"] for panel in group["panels"]] == [-5.0, None]
    assert group["panels"][1]["lines"][0]["x"] == [-2.0, -1.0]
    assert group["heat"][0]["decays"] == [0.0, 0.25, 0.5]
    assert "Tuned at width 32" in report_page([own])


def test_the_word_extend_in_a_name_is_no_advice(scores):
    odd = {"extend": dataclasses.replace(scores["stays"], recipe="extend")}
    (card,) = payload([Group("sweep", scores=odd)])["verdicts"]
    assert not any("--extend" in one for one in card["next"])


def test_a_sweep_of_the_proxy_that_was_given_defaults_is_known_as_one(tmp_path):
    directory = tmp_path / "sweep"
    write_sweep(directory, ("stays",))
    for file in (directory / "trials").glob("*.json"):
        result = json.loads(file.read_text())
        given = {
            k: v for k, v in result["hyperparameters"].items() if k not in ("batch_size", "sequence_length")
        }
        trial = Trial(result["width"], given, result["seed"])
        if (directory / "trials" / file.stem).is_dir():
            (directory / "trials" / file.stem).rename(directory / "trials" / trial.id)
        file.unlink()
        text = json.dumps({**result, "hyperparameters": given, "id": trial.id})
        (directory / "trials" / f"{trial.id}.json").write_text(text)
    found = payload(collect([directory]))
    assert found["unit"] == "nats/token"
    assert found["verdicts"][0]["horizon"].endswith("the runs have 400 steps")
    assert ["length", "400 steps of 1,024 tokens"] in found["manifest"][0]["rows"]
