"""The proxy's trials: several in one program give what single runs give."""

import json
import math

import pytest

from mupwd.proxy.metrics_log import read_metrics
from mupwd.sweep.declare import Sweep
from mupwd.sweep.proxy_trials import ProxyTrials
from mupwd.sweep.run import prepare
from mupwd.sweep.trial import Trial


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"line {i} of a text that is long enough to learn from\n" for i in range(400)))
    return str(path)


def trial(text, rate, seed=0, **values):
    fixed = {
        "corpus": text,
        "layers": 1,
        "steps": 12,
        "warmup": 2,
        "batch_size": 2,
        "sequence_length": 16,
        "recipe": "mupwd",
        "base": 16,
        "eval_batches": 2,
        "log_every": 5,
    }
    return Trial(32, fixed | values | {"learning_rate": rate, "weight_decay": 0.1}, seed)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return [tmp_path_factory.mktemp(kind) for kind in ("together", "alone")]


@pytest.fixture(scope="module")
def both(text, folders):
    trials = [trial(text, 2.0**-7), trial(text, 2.0**-4), trial(text, 2.0**-7, seed=1), trial(text, 1e4)]
    runner = ProxyTrials()
    together, alone = folders
    return runner.run(trials, [together / one.id for one in trials]), [
        runner.run([one], [alone / one.id])[0] for one in trials
    ]


def test_together_as_alone(both):
    together, alone = both
    for one, other in zip(together[:3], alone[:3], strict=True):
        assert one["status"] == other["status"] == "finished"
        assert one["step"] == other["step"] == 12
        for name in ("eval/loss", "train/loss"):
            assert one[name] == pytest.approx(other[name], rel=2e-4)
    assert len({metrics["eval/loss"] for metrics in together[:3]}) == 3


def test_their_logs_are_those_of_single_runs(both, folders):
    names = ("train/loss", "train/grad_norm", "train/learning_rate", "eval/loss")
    logs = sorted(folders[0].iterdir())
    assert len(logs) == 4
    for log in logs:
        together, alone = read_metrics(log), read_metrics(folders[1] / log.name)
        assert [one["step"] for one in together] == [one["step"] for one in alone]
        for one, other in zip(together, alone, strict=True):
            assert one.keys() == other.keys() - {"train/tokens_per_second"}
            for name in one.keys() & set(names):
                assert one[name] == pytest.approx(other[name], rel=2e-3, nan_ok=True)


def test_the_results_have_the_same_metrics_but_for_the_speed(both):
    for together, alone in zip(both[0][:3], both[1][:3], strict=True):
        assert together.keys() == alone.keys() - {"train/tokens_per_second"}
        assert together["train/decay_elapsed"] == pytest.approx(alone["train/decay_elapsed"])


@pytest.mark.parametrize("left", ["metrics.jsonl", "manifest.json", "plan.json"])
def test_what_a_killed_attempt_left_does_no_harm(text, tmp_path, left):
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / left).write_bytes(b"\xffdamaged")
    (found,) = ProxyTrials().run([trial(text, 2.0**-7)], [tmp_path / "trial"])
    assert found["status"] == "finished"
    assert read_metrics(tmp_path / "trial")[-1]["eval/loss"] == found["eval/loss"]


def test_a_trial_that_diverges_is_a_result_and_leaves_the_others_alone(both):
    for metrics in (both[0][3], both[1][3]):
        assert metrics["status"] == "diverged"
        assert math.isnan(metrics["eval/loss"])
    assert both[0][3]["step"] == both[1][3]["step"]


def test_trials_of_two_kinds_are_refused(text):
    with pytest.raises(ValueError, match="may differ in learning rate, decay and seed only"):
        ProxyTrials().run([trial(text, 0.1), trial(text, 0.1, recipe="sp")], [None, None])


def test_measuring_stays_within_what_is_asked_for(text, monkeypatch):
    assert ProxyTrials().measure(trial(text, 0.01), most=4).size == 1
    monkeypatch.setattr("mupwd.sweep.proxy_trials._WORTH_COMPILING", 0.0)
    found = ProxyTrials().measure(trial(text, 0.01), most=4)
    assert found.size in (1, 4)
    assert found.seconds > 0
    assert ProxyTrials().measure(trial(text, 0.01), most=3).size == 1


def test_an_unknown_hyperparameter_is_named(text):
    with pytest.raises(ValueError, match="unknown hyperparameter 'layer'"):
        ProxyTrials().run([trial(text, 0.1, layer=2)], [None])


def test_a_stopped_trial_is_the_same_run_ended_earlier(text, tmp_path):
    whole, stopped = trial(text, 2.0**-6, eval_every=5), trial(text, 2.0**-6, eval_every=5, stop_at=5)
    metrics = [ProxyTrials().run([one], [tmp_path / one.id])[0] for one in (whole, stopped)]
    assert [one["step"] for one in metrics] == [12, 5]
    at_five = next(one for one in read_metrics(tmp_path / whole.id) if one["step"] == 5)
    assert metrics[1]["eval/loss"] == at_five["eval/loss"]
    assert metrics[1]["train/loss"] == at_five["train/loss"]
    assert read_metrics(tmp_path / stopped.id)[-1]["train/learning_rate"] == at_five["train/learning_rate"]
    # Several in one program do as well.
    pair = [trial(text, rate, stop_at=5) for rate in (2.0**-6, 2.0**-5)]
    together = ProxyTrials().run(pair, [None, None])
    assert [one["step"] for one in together] == [5, 5]
    assert together[0]["eval/loss"] == pytest.approx(metrics[1]["eval/loss"], rel=2e-4)


def test_a_stream_is_timed_and_trained_on_one_trial_at_a_time(tmp_path):
    pytest.importorskip("datasets")
    pytest.importorskip("grain")
    lines = [
        json.dumps({"text": f"document {i} of a stream that is read as it comes\n" * 9}) for i in range(60)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    one = trial(f"hf:{tmp_path}", 2**-6)
    sweep = Sweep((32,), (2**-6,), (0.1,), seeds=(0,), steps=12, hyperparameters={"corpus": f"hf:{tmp_path}"})
    assert prepare(sweep).decided["corpus"]["source"] == f"hf:{tmp_path}"
    runner = ProxyTrials()
    measured = runner.measure(one, 64)
    assert (measured.size, measured.seconds > 0) == (1, True)
    (found,) = runner.run([one], [None])
    assert found["status"] == "finished"
