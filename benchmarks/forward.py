"""Time of a step with `mupwd.apply_forward` against the same model with its factors written by hand.

The model is a decoder with a tied embedding; under `completep` its readout and every residual branch have a
factor. Contestants take turns in a random order, one timed step (value and gradient, jitted) at a time, so that
whatever else the machine does falls on all of them; the number to read is the ratio, with its bootstrap
interval. The model written by hand also runs against itself: how far that ratio strays from 1 is the noise.

    python benchmarks/forward.py --steps 100 --json forward.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from absl import app
from absl.flags import argparse_flags

import mupwd

HEAD_DIM, BASE_LAYERS = 16, 2
BY_HAND = "by hand"


def normalised(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)


def attention(x: jax.Array, block: Any) -> jax.Array:
    q, k, v = ((x @ block[name]).reshape(*x.shape[:2], -1, HEAD_DIM) for name in ("q", "k", "v"))
    return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape) @ block["o"]


def decoder(
    params: Any, tokens: jax.Array, *, readout: float | None = None, branch: float | None = None
) -> Any:
    """Logits; the factors are multiplied in where they are given."""

    def scaled(y: jax.Array, factor: float | None) -> jax.Array:
        return y if factor is None else factor * y

    x = params["embedding"][tokens]
    for block in params["blocks"]:
        x = x + scaled(attention(normalised(x), block), branch)
        hidden = jax.nn.silu(normalised(x) @ block["up"])
        x = x + scaled(hidden @ block["down"], branch)
    return scaled(normalised(x) @ params["embedding"].T, readout)


def parameters(width: int, layers: int, vocabulary: int) -> Any:
    def array(*shape: int) -> jax.Array:
        return 0.02 * jax.random.normal(next(keys), shape)

    keys = iter(jax.random.split(jax.random.key(0), 6 * layers + 1))
    square, hidden = (width, width), 4 * width
    blocks = [
        {name: array(*square) for name in ("q", "k", "v", "o")}
        | {"up": array(width, hidden), "down": array(hidden, width)}
        for _ in range(layers)
    ]
    return {"embedding": array(vocabulary, width), "blocks": blocks}


def loss(fn: Callable[..., jax.Array], params: Any, tokens: jax.Array) -> jax.Array:
    logits = jax.nn.log_softmax(fn(params, tokens[:, :-1]))
    return -jnp.mean(jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every round, and bytes of scratch memory, per contestant."""
    tokens = jax.random.randint(jax.random.key(1), (options.batch, options.length + 1), 0, options.vocabulary)
    params = parameters(options.width, options.layers, options.vocabulary)
    family = mupwd.family(
        lambda width: (decoder, parameters(width, BASE_LAYERS, options.vocabulary)),
        base=options.base,
        inputs=(jax.ShapeDtypeStruct((2, 8), jnp.int32),),
    )
    depth_ratio = options.layers / BASE_LAYERS
    plan = family.plan(params, recipe="completep", form="forward", depth_ratio=depth_ratio)
    by_hand = partial(decoder, readout=plan.forward["embedding"], branch=plan.residual_multiplier)
    contestants = {
        BY_HAND: by_hand,
        "apply_forward": mupwd.apply_forward(decoder, plan),
        "by hand, again": by_hand,
    }

    steps, results, values = {}, {}, {}
    for name, fn in contestants.items():
        steps[name] = jax.jit(jax.value_and_grad(partial(loss, fn))).lower(params, tokens).compile()
        scratch = steps[name].memory_analysis().temp_size_in_bytes
        results[name] = {"seconds": [], "scratch_bytes": scratch}
        values[name] = float(steps[name](params, tokens)[0])
    np.testing.assert_allclose(list(values.values()), values[BY_HAND], rtol=1e-6)

    order = np.random.default_rng(options.seed)
    for round_number in range(options.steps):
        for name in order.permutation(list(steps)):
            start = time.perf_counter()
            jax.block_until_ready(steps[name](params, tokens))
            results[name]["seconds"].append(time.perf_counter() - start)
        print(f"\rround {round_number + 1} of {options.steps}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for result in results.values():
        result["ratio"] = ratio(result["seconds"], results[BY_HAND]["seconds"], options.seed)
    return results


def ratio(seconds: Sequence[float], reference: Sequence[float], seed: int) -> tuple[float, float, float]:
    """Ratio of median times, and its 95% interval from resampled rounds."""

    def statistic(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.median(a, axis=axis) / np.median(b, axis=axis)

    pair = np.asarray(seconds), np.asarray(reference)
    if seconds is reference:
        return 1.0, 1.0, 1.0
    resampled = scipy.stats.bootstrap(
        pair, statistic, paired=True, vectorized=True, method="percentile", rng=np.random.default_rng(seed)
    )
    low, high = resampled.confidence_interval
    return float(statistic(*pair)), float(low), float(high)


def table(results: dict[str, Any]) -> str:
    """The results as aligned text."""
    lines = [f"{'':18}{'ms per step':>12}{'ratio':>8}{'95% interval':>18}{'scratch MiB':>13}"]
    for name, result in results.items():
        value, low, high = result["ratio"]
        lines.append(
            f"{name:18}{1e3 * np.median(result['seconds']):12.2f}{value:8.3f}{f'{low:.3f} to {high:.3f}':>18}"
            f"{result['scratch_bytes'] / 2**20:13.1f}"
        )
    return "\n".join(lines)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse_flags.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    width = _multiple_of_head_dim
    parser.add_argument("--width", type=width, default=256, help="at the target (default: %(default)s)")
    parser.add_argument("--base", type=width, default=64, help="width at the base (default: %(default)s)")
    for name, default, help in (
        ("layers", 4, "blocks"),
        ("vocabulary", 512, "tokens that there are"),
        ("batch", 8, "sequences per step"),
        ("length", 128, "tokens per sequence"),
        ("steps", 100, "timed"),
    ):
        parser.add_argument(
            f"--{name}", type=_at_least_2, default=default, help=f"{help} (default: %(default)s)"
        )
    parser.add_argument("--seed", type=int, default=0, help="of the order and the interval (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every timing there as well")
    options = parser.parse_args(argv[1:])
    if options.width <= options.base:
        parser.error(f"--width {options.width} must be larger than --base {options.base}")
    if options.layers == BASE_LAYERS:
        parser.error(f"--layers {BASE_LAYERS} is the base's depth, where branches have no factor; give more")
    if options.json and not options.json.resolve().parent.is_dir():
        parser.error(f"--json {options.json}: its folder does not exist; make it first")
    return options


def main(options: argparse.Namespace) -> None:
    device = jax.devices()[0]
    print(
        f"width {options.base} → {options.width}, {BASE_LAYERS} → {options.layers} blocks; on {device.device_kind} "
        f"({device.platform}), jax {jax.__version__}"
    )
    results = measure(options)
    print(table(results))
    if options.json:
        facts = {
            "device": device.device_kind,
            "machine": platform.processor() or platform.machine(),
            "jax": jax.__version__,
            "arguments": {k: v for k, v in vars(options).items() if k != "json"},
            "results": results,
        }
        options.json.write_text(json.dumps(facts, indent=1))


def _multiple_of_head_dim(text: str) -> int:
    if not text.isdecimal() or int(text) < 1 or int(text) % HEAD_DIM:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive multiple of {HEAD_DIM}, the size of a head"
        )
    return int(text)


def _at_least_2(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 2")
    return int(text)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
