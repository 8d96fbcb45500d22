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
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app
from absl.flags import argparse_flags
from turns import add_options, at_least, device, ratio, table, take_turns, write

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

    trees, facts, calls = {}, {}, {}
    for name, tx in contestants(plan).items():
        trees[name] = (jax.tree.map(jnp.copy, params), tx.init(params))
        step = step_function(tx).lower(*trees[name], gradients).compile()
        facts[name] = memory(step)

        def call(name: str = name, step: Any = step) -> Any:
            trees[name] = step(*trees[name], gradients)
            return trees[name]

        calls[name] = call
    del params

    seconds = take_turns(calls, steps, seed, warmup)
    return {
        name: {"seconds": times, "ratio": ratio(times, seconds[REFERENCE], seed), **facts[name]}
        for name, times in seconds.items()
    }


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse_flags.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    wide, whole = at_least(16), at_least(1)
    parser.add_argument("--width", type=wide, default=768, help="at the target (default: %(default)s)")
    parser.add_argument("--base", type=wide, default=192, help="width at the base (default: %(default)s)")
    parser.add_argument("--layers", type=whole, default=14, help="blocks (default: %(default)s)")
    parser.add_argument("--vocabulary", type=whole, default=8192, help="tokens (default: %(default)s)")
    parser.add_argument("--warmup", type=at_least(0), default=3, help="untimed (default: %(default)s)")
    add_options(parser, steps=50)
    return parser.parse_args(argv[1:])


def main(arguments: argparse.Namespace) -> None:
    shapes = llama_shapes(arguments.width, arguments.layers, arguments.vocabulary)
    plan = llama_plan(arguments.base, arguments.width, arguments.layers, arguments.vocabulary)
    parameters = sum(int(np.prod(p.shape)) for p in plan.values())
    print(
        f"{parameters / 1e6:.1f}M parameters in {len(plan)} arrays, width {arguments.base} → {arguments.width}; "
        f"{device()}, optax {optax.__version__}"
    )
    results = measure(shapes, plan, arguments.steps, arguments.warmup, arguments.seed)
    columns = {
        "arguments MiB": lambda result: result["argument_bytes"] / 2**20,
        "beyond them": lambda result: result["extra_bytes"] / 2**20,
    }
    print(table(results, columns))
    write(arguments, results, parameters=parameters, optax=optax.__version__)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
