"""What the factors cost in the compiled program: nothing."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

from mupwd.optim import adamw
from mupwd.paths import map_named

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark():
    sys.path.append(str(ROOT / "benchmarks"))  # as it is for a script that runs there
    spec = importlib.util.spec_from_file_location("benchmark_optimizer", ROOT / "benchmarks/optimizer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / "benchmarks"))
    return module


def fusions(compiled) -> int:
    return len(re.findall(r"= \S+ fusion\(", compiled.as_text()))


KINDS = {
    "numbers": {"learning_rate": 3e-3, "weight_decay": 0.1},
    "schedules": {
        "learning_rate": optax.cosine_decay_schedule(3e-3, 100),
        "weight_decay": optax.linear_schedule(0.1, 0.2, 100),
    },
}


@pytest.fixture(scope="module", params=KINDS)
def pair(request, benchmark):
    """Compiled steps on the parameters of a LLaMA at m = 4: `(mupwd.adamw, optax.adamw)`."""
    sizes = {"width": 64, "layers": 2, "vocabulary": 64}
    plan = benchmark.llama_plan(base=16, **sizes)
    params = benchmark.llama_shapes(**sizes)

    def decays(tree):
        return map_named(lambda name, _: plan[name].wd != 0, tree)

    def compiled(tx):
        return benchmark.step_function(tx).lower(params, jax.eval_shape(tx.init, params), params).compile()

    arguments = KINDS[request.param]
    with jax.numpy_dtype_promotion("standard"):
        return compiled(adamw(plan=plan, **arguments)), compiled(optax.adamw(mask=decays, **arguments))


def test_the_compiled_step_has_the_fusions_of_optax(pair):
    ours, theirs = pair
    assert fusions(theirs) > 0
    assert fusions(ours) == fusions(theirs)


def test_the_compiled_step_needs_no_more_memory_than_optax(pair):
    ours, theirs = (step.memory_analysis() for step in pair)
    assert ours.temp_size_in_bytes <= theirs.temp_size_in_bytes
    assert ours.argument_size_in_bytes == theirs.argument_size_in_bytes
    assert ours.output_size_in_bytes == theirs.output_size_in_bytes
    assert ours.alias_size_in_bytes == theirs.alias_size_in_bytes > 0


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_the_step_lowers_for_accelerators(platform, benchmark):
    sizes = {"width": 64, "layers": 1, "vocabulary": 64}
    params = benchmark.llama_shapes(**sizes)
    tx = adamw(plan=benchmark.llama_plan(base=16, **sizes), **KINDS["schedules"])
    step = benchmark.step_function(tx)
    arguments = params, jax.eval_shape(tx.init, params), params
    exported = jax.export.export(step, platforms=[platform])(*arguments)
    assert exported.platforms == (platform,)
    assert {aval.dtype for aval in exported.out_avals} == {jnp.dtype("float32"), jnp.dtype("int32")}


@pytest.mark.slow
def test_the_benchmark_runs_and_writes_its_timings(tmp_path):
    file = tmp_path / "optimizer.json"
    sizes = [
        "--width",
        "32",
        "--base",
        "16",
        "--layers",
        "1",
        "--vocabulary",
        "32",
        "--steps",
        "3",
        "--warmup",
        "1",
    ]
    command = [sys.executable, ROOT / "benchmarks/optimizer.py", *sizes, "--json", file]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results = json.loads(file.read_text())["results"]
    assert [len(r["seconds"]) for r in results.values()] == [3] * 4
    for name, result in results.items():
        low, high = result["ratio"][1:]
        assert name in done.stdout
        assert low <= high
    assert results["mupwd.adamw"]["argument_bytes"] == results["optax.adamw"]["argument_bytes"]
    failed = subprocess.run([*command[:2], "--steps", "one"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "'one' is not a whole number of at least 2" in failed.stderr
