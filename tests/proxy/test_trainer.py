import math
import threading

import jax
import numpy as np
import pytest

from mupwd.proxy import ProxyConfig, TrainConfig, Trainer, metric_sinks
from mupwd.proxy.corpus import Corpus
from mupwd.proxy.corpus_errors import CorpusError
from mupwd.proxy.metrics_log import read_metrics, series
from mupwd.proxy.trainer import device_tokens

PROXY = ProxyConfig(layers=1)
TRAIN = TrainConfig(
    steps=60,
    warmup=6,
    batch_size=8,
    sequence_length=32,
    log_every=5,
    eval_every=20,
    eval_batches=4,
    checkpoint_every=25,
    keep_checkpoints=2,
)


@pytest.fixture(scope="module")
def trainer(text_corpus):
    return Trainer(32, proxy=PROXY, train=TRAIN, corpus=text_corpus)


def deterministic(records):
    return [{k: v for k, v in r.items() if k not in ("time", "train/tokens_per_second")} for r in records]


@pytest.fixture(scope="module")
def finished(trainer, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "run"
    return directory, trainer.run(2**-5, 0.1, seed=0, directory=directory)


def test_it_learns_and_says_so(finished):
    directory, result = finished
    assert (result["status"], result["step"]) == ("finished", 60)
    records = read_metrics(directory)
    steps, losses = series(records, "train/loss")
    # Every log step, and the checkpoint at 25 that is one as well.
    assert steps == list(range(5, 61, 5))
    assert losses[0] > 3.5
    assert losses[-1] == result["train/loss"] < 3.2
    assert series(records, "eval/loss")[0] == [20, 40, 60]
    assert series(records, "eval/loss")[1][-1] == result["eval/loss"] < 3.2
    assert series(records, "train/tokens_per_second")[1][-1] > 0


def test_sinks_are_given_what_the_log_is_and_their_troubles_change_nothing(
    trainer, finished, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(metric_sinks, "PATIENCE_SECONDS", 0.1)
    leave, seen = threading.Event(), []

    def keeps(metrics, step):
        seen.append({"step": step, **metrics})

    def raises(metrics, step):
        raise OSError("no route to host")

    def hangs(metrics, step):
        leave.wait()

    try:
        result = trainer.run(2**-5, 0.1, 0, tmp_path / "run", sinks=[hangs, raises, keeps])
    finally:
        leave.set()
    records = read_metrics(tmp_path / "run")
    assert seen == [{name: record[name] for name in record if name != "time"} for record in records]
    assert deterministic(records) == deterministic(read_metrics(finished[0]))
    assert deterministic([result]) == deterministic([finished[1]])
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(" records")[0] for line in told] == [f"notice: {len(seen)} of {len(seen)}"] * 2
    assert trainer.run(2**-5, 0.1, 0, tmp_path / "run", sinks=[keeps]) == result
    assert len(seen) == len(records)


def test_sinks_need_no_directory_and_are_checked_before_anything_is_written(trainer, tmp_path):
    seen = []
    trainer.run(2**-5, 0.1, 0, sinks=[lambda metrics, step: seen.append(step)])
    assert seen == list(range(5, 61, 5))
    with pytest.raises(ValueError, match="a sink is an object with write_scalars"):
        trainer.run(2**-5, 0.1, 0, tmp_path / "run", sinks=[None])
    assert not (tmp_path / "run").exists()


def test_the_directory_holds_what_the_docs_say(finished):
    directory, _ = finished
    names = {"manifest.json", "plan.json", "metrics.jsonl", "checkpoints", "result.json"}
    assert {entry.name for entry in directory.iterdir()} == names
    assert sorted(entry.name for entry in (directory / "checkpoints").iterdir()) == ["50", "60"]


def test_a_finished_run_is_not_run_again(finished, trainer):
    directory, result = finished
    before = (directory / "metrics.jsonl").read_bytes()
    assert trainer.run(2**-5, 0.1, seed=0, directory=directory) == result
    assert trainer.run(np.float32(2**-5), np.float64(0.1), seed=0, directory=directory) == result
    assert (directory / "metrics.jsonl").read_bytes() == before


def test_another_run_does_not_go_into_the_same_directory(finished, trainer):
    with pytest.raises(ValueError, match=r"seed: 0 in the directory, 1 asked for"):
        trainer.run(2**-5, 0.1, seed=1, directory=finished[0])


def test_without_a_directory_the_losses_are_the_same(finished, trainer):
    _, result = finished
    again = trainer.run(2**-5, 0.1, seed=0)
    for name in ("train/loss", "eval/loss"):
        assert again[name] == result[name]


def test_a_run_goes_on_from_its_last_checkpoint(finished, trainer, tmp_path, monkeypatch):
    """The error stands for any interruption between two checkpoints."""
    segment, calls = trainer._segment, []

    def interrupted(*args):
        calls.append(None)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return segment(*args)

    monkeypatch.setattr(trainer, "_segment", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(2**-5, 0.1, seed=0, directory=tmp_path)
    assert series(read_metrics(tmp_path), "train/loss")[0][-1] == 35
    monkeypatch.setattr(trainer, "_segment", segment)
    result = trainer.run(2**-5, 0.1, seed=0, directory=tmp_path)
    assert deterministic([result]) == deterministic([finished[1]])
    assert deterministic(read_metrics(tmp_path)) == deterministic(read_metrics(finished[0]))


def test_one_compilation_serves_every_run(trainer, finished):
    compilations = []

    def count(name, seconds, **_):
        if name == "/jax/core/compile/backend_compile_duration":
            compilations.append(name)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        before = trainer.run(2**-5, 0.1, seed=0)
        after = trainer.run(2**-7, 0.0, seed=3)
        assert compilations == []
        assert before["eval/loss"] != after["eval/loss"]
        # The listener hears compilations at all.
        jax.jit(lambda x: x + len(compilations))(np.float32(1))
        assert compilations
    finally:
        jax.monitoring.unregister_event_duration_listener(count)


def test_a_diverged_run_is_recorded_and_not_run_again(trainer, tmp_path):
    result = trainer.run(3e4, 0.1, seed=0, directory=tmp_path)
    assert result["status"] == "diverged"
    assert 1 <= result["step"] < 60
    assert not result["train/loss"] <= 3 * math.log(256)
    assert math.isnan(result["eval/loss"])
    steps, losses = series(read_metrics(tmp_path), "train/loss")
    assert steps[-1] == result["step"]
    assert str(losses[-1]) == str(result["train/loss"])
    again = trainer.run(3e4, 0.1, seed=0, directory=tmp_path)
    assert str(again) == str(result)


def test_a_loss_of_nan_is_a_divergence_too(trainer):
    result = trainer.run(1e38, 1e3, seed=0)
    assert result["status"] == "diverged"


def test_batches_of_a_mapped_file_give_the_same_run(trainer, finished, text_corpus, tmp_path, monkeypatch):
    file = tmp_path / "train.bin"
    text_corpus.train.tofile(file)
    mapped = Corpus("mapped", np.memmap(file, text_corpus.train.dtype), text_corpus.validation, 256)
    monkeypatch.setattr(trainer, "corpus", mapped)
    monkeypatch.setattr(trainer, "tokens", device_tokens(mapped, trainer.program.layout))
    assert trainer.tokens is None
    result = trainer.run(2**-5, 0.1, seed=0)
    assert result["eval/loss"] == pytest.approx(finished[1]["eval/loss"], rel=1e-3)


def test_the_default_progress_bar_is_silent_where_there_is_no_terminal(trainer, capfd):
    trainer.run(2**-5, 0.1, seed=0)
    assert capfd.readouterr() == ("", "")


def test_progress_bar_shows_loss_speed_and_time_left(trainer, capfd, monkeypatch):
    monkeypatch.setattr(trainer, "_progress", True)
    trainer.run(2**-5, 0.1, seed=0)
    shown = capfd.readouterr().err
    assert "width 32" in shown
    assert "60/60" in shown
    assert "loss " in shown
    assert "tokens/s" in shown


def test_vocabularies_that_differ(text_corpus):
    with pytest.raises(ValueError, match="256 tokens and the model one of 512; set vocab_size=256"):
        Trainer(32, proxy=ProxyConfig(vocab_size=512), corpus=text_corpus)


def test_a_corpus_shorter_than_a_batch():
    tokens = np.zeros(100, np.uint8)
    with pytest.raises(CorpusError, match="the train split has 100 tokens"):
        Trainer(32, corpus=Corpus("tiny", tokens, tokens, 256))
    with pytest.raises(CorpusError, match="the validation split has 100 tokens"):
        Trainer(32, corpus=Corpus("tiny", np.zeros(10_000, np.uint8), tokens, 256))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be a finite number, above 0; got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number"),
        ({"weight_decay": -0.1}, "weight_decay must be a finite number, 0 or more; got -0.1"),
        ({"weight_decay": "0.1"}, "weight_decay must be a finite number"),
        ({"seed": -1}, r"seed must be an integer in \[0, 2\*\*32\), got -1"),
        ({"seed": 0.5}, "seed must be an integer"),
    ],
)
def test_bad_arguments_are_named(trainer, arguments, message):
    with pytest.raises(ValueError, match=message):
        trainer.run(**{"learning_rate": 0.01, "weight_decay": 0.1, "seed": 0, **arguments})
