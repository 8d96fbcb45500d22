"""GPUs are told apart without starting JAX on them; the command that lists them is played by a script."""

import os

import jax
import pytest

from mupwd.sweep import gpus
from mupwd.sweep.errors import SweepError
from mupwd.sweep.gpus import Gpu, environment_of, visible_gpus
from mupwd.sweep.local import LocalExecutor
from mupwd.sweep.runner import OneByOne
from mupwd.sweep.trial import Trial

LISTED = "0, GPU-aaaa, NVIDIA H100 80GB HBM3\n1, GPU-bbbb, NVIDIA H100 80GB HBM3\n2, GPU-cccc, NVIDIA A100\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with three GPUs and a JAX that can use them."""
    script = tmp_path / "nvidia-smi"
    script.write_text(f"#!/bin/sh\ncat <<END\n{LISTED}END\n")
    script.chmod(0o755)
    plugin = tmp_path / "some_cuda_plugin-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: some-cuda-plugin\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text("[jax_plugins]\nxla_cuda12 = nothing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", None)
    visible_gpus.cache_clear()
    yield monkeypatch
    jax.config.update("jax_platforms", before)
    visible_gpus.cache_clear()


def test_all_are_found_where_nothing_is_said(machine):
    assert visible_gpus() == (
        Gpu("0", "NVIDIA H100 80GB HBM3"),
        Gpu("1", "NVIDIA H100 80GB HBM3"),
        Gpu("2", "NVIDIA A100"),
    )


@pytest.mark.parametrize(
    ("chosen", "names"),
    [("2,0", ["2", "0"]), ("GPU-bbbb", ["GPU-bbbb"]), ("", []), ("-1", []), ("1,-1,2", ["1"])],
)
def test_only_those_that_the_environment_shows(machine, chosen, names):
    machine.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [one.name for one in visible_gpus()] == names


def test_none_where_jax_is_to_use_the_cpu(machine):
    machine.setenv("JAX_PLATFORMS", "cpu")
    assert visible_gpus() == ()


def test_processes_that_share_a_gpu_share_its_memory(monkeypatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    gpus = (Gpu("0", "a"), Gpu("1", "a"))
    assert environment_of(3, 4, gpus) == {
        "CUDA_VISIBLE_DEVICES": "1",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450",
    }
    assert environment_of(1, 2, gpus) == {"CUDA_VISIBLE_DEVICES": "1"}
    assert environment_of(1, 2, ()) == {}


def train(width, hyperparameters, seed, directory):
    return {"eval/loss": 1.0, "gpu": os.environ["CUDA_VISIBLE_DEVICES"]}


def test_every_process_has_one():
    trials = [Trial(32, {"learning_rate": 0.1, "weight_decay": 0.1, "kind": k % 2}, k) for k in range(8)]
    with LocalExecutor(OneByOne(train), 2, gpus=(Gpu("5", "a"), Gpu("7", "a"))) as executor:
        found = [one for results in executor.run([[trial] for trial in trials]) for one in results]
    assert {one.metrics["gpu"] for one in found} == {"5", "7"}


def test_a_command_that_does_not_answer_is_named(machine, tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    machine.setattr(gpus, "_SECONDS_OF_A_COMMAND", 0.1)
    with pytest.raises(
        SweepError, match=r"nvidia-smi did not answer within 0\.1 s; set CUDA_VISIBLE_DEVICES="
    ):
        visible_gpus()
