import subprocess
import sys

import pytest

from mupwd.proxy import train
from mupwd.proxy.corpus_errors import CorpusError
from mupwd.proxy.manifest import read_manifest

TUNED = {"learning_rate": 2**-5, "weight_decay": 0.1}


@pytest.fixture(scope="module")
def small(text_folder):
    fields = {"layers": 1, "steps": 4, "warmup": 1, "batch_size": 2, "sequence_length": 16, "eval_batches": 1}
    return {**TUNED, **fields, "corpus": str(text_folder)}


def test_a_trial_returns_metrics_and_writes_its_directory(small, tmp_path):
    metrics = train(32, {**small, "recipe": "mup", "kv_heads": 1}, seed=1, directory=tmp_path / "trial")
    numbers = {"train/loss", "eval/loss", "train/tokens_per_second", "train/decay_elapsed"}
    assert set(metrics) == {"status", "step"} | numbers
    assert (metrics["status"], metrics["step"]) == ("finished", 4)
    run = read_manifest(tmp_path / "trial")["run"]
    assert (run["recipe"], run["base"], run["width"], run["seed"]) == ("mup", 32, 32, 1)
    assert run["proxy"]["kv_heads"] == 1


def test_recipes_differ_at_the_target_and_share_batches(small):
    losses = {
        recipe: train(64, {**small, "recipe": recipe}, 0, None)["eval/loss"] for recipe in ("mupwd", "sp")
    }
    assert losses["mupwd"] != losses["sp"]


def test_a_tied_model_is_trained_in_forward_form(small, tmp_path):
    directory = tmp_path / "tied"
    assert train(64, {**small, "tied": True}, 0, directory)["status"] == "finished"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.1, "warm_up": 3}, "(?s)unknown hyperparameter 'lr'.*'warm_up'; did you mean 'warmup'"),
        ({"steps": 0}, "steps must be a positive integer, got 0"),
        ({"recipe": "mupdw"}, "mupwd"),
        ({"layers": [2]}, "hyperparameters must be plain values"),
        ({"vocab_size": 300}, "vocab_size is 300, but tokenizer='bytes' has 256"),
        ({"learning_rate": -1.0}, "learning_rate must be a finite number"),
    ],
)
def test_bad_hyperparameters_are_named(small, changes, message):
    with pytest.raises(ValueError, match=message):
        train(32, {**small, **changes}, 0, None)


def test_the_tuned_pair_is_required(small):
    without = {name: value for name, value in small.items() if name not in TUNED}
    with pytest.raises(ValueError, match="hyperparameters must hold 'learning_rate' and 'weight_decay'"):
        train(32, without, 0, None)


def test_a_missing_corpus_is_named(small):
    with pytest.raises(CorpusError, match="nowhere"):
        train(32, {**small, "corpus": "/nowhere/at/all"}, 0, None)


@pytest.mark.parametrize(("module", "name"), [("flax", "Llama"), ("orbax", "train"), ("rich", "Trainer")])
def test_a_missing_extra_is_named(module, name):
    code = f"import sys; sys.modules[{module!r}] = None\nfrom mupwd.proxy import {name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"mupwd.proxy.{name} needs {module}" in done.stderr
    assert "pip install 'mupwd[proxy]'" in done.stderr


def test_reading_a_log_imports_no_extra():
    code = (
        "import sys, mupwd.proxy.metrics_log\n"
        "print([m for m in ('flax', 'orbax', 'rich', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
