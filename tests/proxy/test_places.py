"""A run's directory of any name, and checkpoints that somebody else put there."""

import pickle
import shutil

import pytest

from mupwd.proxy import train
from mupwd.proxy.metrics_log import read_metrics

SHORT = {
    "layers": 1,
    "batch_size": 4,
    "sequence_length": 16,
    "eval_batches": 1,
    "warmup": 2,
    "steps": 20,
    "checkpoint_every": 5,
    "learning_rate": 2.0**-6,
    "weight_decay": 0.1,
}


def killed_before_the_end(run):
    """Leaves of a run what there is between its last two checkpoints."""
    (run / "result.json").unlink()
    shutil.rmtree(run / "checkpoints" / "20")


def test_a_run_goes_on_in_it(text_folder, tmp_path):
    # What shells, URLs, HTML and glob patterns read otherwise, other scripts, a line's end.
    place = tmp_path / "a b ünï 宽 🌍 *?{b} %41&x=1#y <b>'\"$HOME` two\nlines"
    short = {**SHORT, "corpus": str(text_folder)}
    whole = train(32, short, 0, place)
    records = len(read_metrics(place))
    killed_before_the_end(place)
    again = train(32, short, 0, place)
    assert (again["step"], again["eval/loss"]) == (20, whole["eval/loss"])
    assert len(read_metrics(place)) == records


def test_brackets_would_lose_its_checkpoints(text_folder, tmp_path):
    place = tmp_path / "lr[0.1]"
    short = {**SHORT, "corpus": str(text_folder)}
    with pytest.raises(ValueError, match=r"lr\[0\.1\]' has '\[' in its path.*choose another name"):
        train(32, short, 0, place)
    assert not place.exists()
    assert train(32, {**short, "checkpoint_every": None}, 0, place)["step"] == 20


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (self.file, "w")


def test_a_checkpoint_of_pickles_is_refused_and_not_run(text_folder, tmp_path):
    trap = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Trap(str(trap)))).close()
    assert trap.exists()
    trap.unlink()
    short = {**SHORT, "corpus": str(text_folder)}
    train(32, short, 0, tmp_path / "run")
    killed_before_the_end(tmp_path / "run")
    replaced = [file for file in (tmp_path / "run" / "checkpoints").rglob("*") if file.is_file()]
    assert replaced
    for file in replaced:
        file.write_bytes(pickle.dumps(Trap(str(trap))))
    with pytest.raises(
        ValueError, match=r"run/checkpoints/15: this checkpoint cannot be read \(.*; move it away"
    ):
        train(32, short, 0, tmp_path / "run")
    assert not trap.exists()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "15")
    assert train(32, short, 0, tmp_path / "run")["step"] == 20
