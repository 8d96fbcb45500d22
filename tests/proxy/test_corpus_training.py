"""Every kind of corpus through the train loop: the same losses where the tokens are the same."""

import json

import numpy as np
import pytest

from mupwd.proxy import ProxyConfig, TrainConfig, Trainer, corpus

CONFIG = TrainConfig(steps=6, warmup=1, batch_size=2, sequence_length=16, eval_batches=1)
TEXT = "".join(f"line {number} of a text\n" for number in range(400))


def trainer(source):
    return Trainer(32, proxy=ProxyConfig(layers=1), train=CONFIG, corpus=source)


def losses(trainer):
    found = trainer.run(2**-6, 0.1, seed=3)
    return found["train/loss"], found["eval/loss"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return corpus(path)


def test_mapped_tokens_give_the_losses_of_tokens_on_the_device(text, tmp_path):
    text.train.astype(np.uint16).tofile(tmp_path / "train.bin")
    text.validation.astype(np.uint16).tofile(tmp_path / "val.bin")
    mapped = corpus(tmp_path, vocab_size=256)
    assert mapped.sha256 == text.sha256
    # Two programs, which may round differently; another seed makes 1e-2.
    assert losses(trainer(mapped)) == pytest.approx(losses(trainer(text)), rel=1e-6)


def test_stream_trains(tmp_path):
    pytest.importorskip("datasets")
    pytest.importorskip("grain")
    with (tmp_path / "train.jsonl").open("w") as file:
        for line in TEXT.splitlines():
            file.write(json.dumps({"text": line}) + "\n")
    streaming = trainer(corpus(f"hf:{tmp_path}", validation_fraction=0.2))
    first = losses(streaming)
    assert np.isfinite(first).all()
    assert losses(streaming) == first
