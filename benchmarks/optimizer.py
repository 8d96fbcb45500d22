"""Step time and memory of `mupwd.adamw` against `optax.adamw`, on the parameters of a LLaMA.

Each contestant steps its own copy of the parameters with the same gradients. They take turns in a random
order, one timed step at a time, so that whatever else the machine does falls on all of them; the number
to read is the ratio to `optax.adamw` (with the same decay mask), with its bootstrap interval.
`optax.adamw` also runs against itself: how far that ratio strays from 1 is the noise of the measurement.
`optax.partition` with one `optax.adamw` per group of equal multipliers is how it is done by hand today.

    python benchmarks/optimizer.py --steps 50 --json optimizer.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.stats
from absl import app
from absl.flags import argparse_flags

from mupwd.optim import adamw
from mupwd.paths import map_named, named_leaves
from mupwd.plan import ParameterPlan, Plan, make_plan
from mupwd.tracing.roles import Parameter, Role

LEARNING_RATE, WEIGHT_DECAY, EPS = 3e-3, 0.1, 1e-8
REFERENCE = "optax.adamw"


def llama_shapes(width: int, layers: int, vocabulary: int) -> dict[str, Any]:
    """Shapes of a LLaMA's parameters: untied, with 4 query heads to a key-value head and an 8/3 SwiGLU."""
    hidden, kv = 8 * width // 3 // 16 * 16, width // 4

    def array(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    block = {
        "attention": {
            "q": array(width, width),
            "k": array(width, kv),
            "v": array(width, kv),
            "o": array(width, width),
        },
        "attention_norm": array(width),
        "mlp": {"gate": array(width, hidden), "up": array(width, hidden), "down": array(hidden, width)},
        "mlp_norm": array(width),
    }
    return {
        "embedding": array(vocabulary, width),
        "layers": [block] * layers,
        "norm": array(width),
        "readout": array(width, vocabulary),
    }


def llama_plan(base: int, width: int, layers: int, vocabulary: int) -> Plan:
    """The default recipe for `llama_shapes`."""
    base_shapes, shapes = (
        {name: leaf.shape for name, leaf in named_leaves(llama_shapes(w, layers, vocabulary)).items()}
        for w in (base, width)
    )
    parameters = {}
    for name, shape in base_shapes.items():
        role: Role
        if name == "embedding":
            role, axes, growing = "input", ("lookup", "out"), (False, True)
        elif name == "readout":
            role, axes, growing = "output", ("in", "out"), (True, False)
        elif len(shape) == 1:
            role, axes, growing = "vector", ("elementwise",), (True,)
        else:
            role, axes, growing = "matrix", ("in", "out"), (True, True)
        parameters[name] = Parameter(name, role, shape, "float32", axes, growing)
    return make_plan(parameters, shapes, base=base, width=width)


def contestants(plan: Plan) -> dict[str, optax.GradientTransformation]:
    """The transforms that are compared, by name."""

    def decays(params: Any) -> Any:
        return map_named(lambda name, _: plan[name].wd != 0, params)

    def group(p: ParameterPlan) -> str:
        return f"lr × {p.lr:g}, wd × {p.wd:g}, eps × {p.eps:g}"

    def labels(params: Any) -> Any:
        return map_named(lambda name, _: group(plan[name]), params)

    def plain() -> optax.GradientTransformation:
        return optax.adamw(LEARNING_RATE, eps=EPS, weight_decay=WEIGHT_DECAY, mask=decays)

    groups: dict[Hashable, optax.GradientTransformation] = {
        group(p): optax.adamw(LEARNING_RATE * p.lr, eps=EPS * p.eps, weight_decay=WEIGHT_DECAY * p.wd)
        for p in plan.values()
    }
    return {
        REFERENCE: plain(),
        "optax.adamw, again": plain(),
        "mupwd.adamw": adamw(LEARNING_RATE, plan, eps=EPS, weight_decay=WEIGHT_DECAY),
        f"optax.partition, {len(groups)} groups": optax.partition(groups, labels),
    }


def step_function(tx: optax.GradientTransformation) -> Any:
    """A jitted step `(params, state, gradients) -> (params, state)` that donates the first two."""

    def step(params: Any, state: Any, gradients: Any) -> Any:
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return jax.jit(step, donate_argnums=(0, 1))


def memory(compiled: Any) -> dict[str, int]:
    """Bytes of a compiled step: parameters, state and gradients, and what it needs beyond those."""
    analysis = compiled.memory_analysis()
    return {
        "argument_bytes": analysis.argument_size_in_bytes,
        "extra_bytes": analysis.temp_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes,
    }


def measure(shapes: Any, plan: Plan, steps: int, warmup: int, seed: int) -> dict[str, Any]:
    """Times every contestant, one step each per round.

    Returns:
      per contestant the seconds of each round, and the bytes of its compiled step.
    """
    keys = iter(jax.random.split(jax.random.key(seed), 2 * len(plan)))
    params = jax.tree.map(lambda x: 0.02 * jax.random.normal(next(keys), x.shape, x.dtype), shapes)
    gradients = jax.tree.map(lambda x: 1e-3 * jax.random.normal(next(keys), x.shape, x.dtype), shapes)

    steppers, trees, results = {}, {}, {}
    for name, tx in contestants(plan).items():
        trees[name] = (jax.tree.map(jnp.copy, params), tx.init(params))
        steppers[name] = step_function(tx).lower(*trees[name], gradients).compile()
        results[name] = {"seconds": [], **memory(steppers[name])}
    del params

    order = np.random.default_rng(seed)
    for round_number in range(warmup + steps):
        for name in order.permutation(list(steppers)):
            start = time.perf_counter()
            trees[name] = jax.block_until_ready(steppers[name](*trees[name], gradients))
            elapsed = time.perf_counter() - start
            if round_number >= warmup:
                results[name]["seconds"].append(elapsed)
        print(f"\rround {round_number + 1} of {warmup + steps}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


def ratio(seconds: Sequence[float], reference: Sequence[float], seed: int) -> tuple[float, float, float]:
    """Ratio of median times, and its 95% interval from resampled rounds."""

    def statistic(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.median(a, axis=axis) / np.median(b, axis=axis)

    resampled = scipy.stats.bootstrap(
        (np.asarray(seconds), np.asarray(reference)),
        statistic,
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = resampled.confidence_interval
    return float(statistic(np.asarray(seconds), np.asarray(reference))), float(low), float(high)


def table(results: dict[str, Any]) -> str:
    """The results as aligned text."""
    lines = [
        f"{'':28}{'ms per step':>12}{'ratio':>8}{'95% interval':>18}{'arguments MiB':>15}{'beyond them':>13}"
    ]
    for name, result in results.items():
        value, low, high = result["ratio"]
        lines.append(
            f"{name:28}{1e3 * np.median(result['seconds']):12.2f}{value:8.3f}{f'{low:.3f} to {high:.3f}':>18}"
            f"{result['argument_bytes'] / 2**20:15.1f}{result['extra_bytes'] / 2**20:13.1f}"
        )
    return "\n".join(lines)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse_flags.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    wide, whole = _at_least(16), _at_least(1)
    parser.add_argument("--width", type=wide, default=768, help="at the target (default: %(default)s)")
    parser.add_argument("--base", type=wide, default=192, help="width at the base (default: %(default)s)")
    parser.add_argument("--layers", type=whole, default=14, help="blocks (default: %(default)s)")
    parser.add_argument("--vocabulary", type=whole, default=8192, help="tokens (default: %(default)s)")
    parser.add_argument("--steps", type=_at_least(2), default=50, help="timed (default: %(default)s)")
    parser.add_argument("--warmup", type=_at_least(0), default=3, help="untimed (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every timing there as well")
    arguments = parser.parse_args(argv[1:])
    if arguments.json and not arguments.json.resolve().parent.is_dir():
        parser.error(f"--json {arguments.json}: its folder does not exist; make it first")
    return arguments


def main(arguments: argparse.Namespace) -> None:
    shapes = llama_shapes(arguments.width, arguments.layers, arguments.vocabulary)
    plan = llama_plan(arguments.base, arguments.width, arguments.layers, arguments.vocabulary)
    parameters = sum(int(np.prod(p.shape)) for p in plan.values())
    device = jax.devices()[0]
    print(
        f"{parameters / 1e6:.1f}M parameters in {len(plan)} arrays, "
        f"width {arguments.base} → {arguments.width}; on "
        f"{device.device_kind} ({device.platform}), jax {jax.__version__}, optax {optax.__version__}"
    )
    results = measure(shapes, plan, arguments.steps, arguments.warmup, arguments.seed)
    for result in results.values():
        result["ratio"] = ratio(result["seconds"], results[REFERENCE]["seconds"], arguments.seed)
    print(table(results))
    if arguments.json:
        facts = {
            "parameters": parameters,
            "device": device.device_kind,
            "machine": platform.processor() or platform.machine(),
            "jax": jax.__version__,
            "optax": optax.__version__,
            "arguments": {k: v for k, v in vars(arguments).items() if k != "json"},
            "results": results,
        }
        arguments.json.write_text(json.dumps(facts, indent=1))


def _at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return whole_number


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
