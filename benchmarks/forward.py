"""Time of a step with `mupwd.apply_forward` against the same model with its factors written by hand.

The model is a decoder with a tied embedding; under `completep` its readout and every residual branch have a
factor. Contestants take turns in a random order, one timed step (value and gradient, jitted) at a time, so that
whatever else the machine does falls on all of them; the number to read is the ratio, with its bootstrap
interval. The model written by hand also runs against itself: how far that ratio strays from 1 is the noise.

    python benchmarks/forward.py --steps 100 --json forward.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from absl import app
from absl.flags import argparse_flags
from turns import add_options, at_least, compare_programs, device, multiple_of, table, write

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
    by_hand = partial(decoder, readout=plan.forward["embedding"], branch=plan.residual_scale)
    contestants = {
        BY_HAND: by_hand,
        "apply_forward": mupwd.apply_forward(decoder, plan),
        "by hand, again": by_hand,
    }

    programs = {
        name: jax.jit(jax.value_and_grad(partial(loss, fn))).lower(params, tokens).compile()
        for name, fn in contestants.items()
    }
    return compare_programs(programs, (params, tokens), BY_HAND, options.steps, options.seed)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse_flags.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    width = multiple_of(HEAD_DIM, "the size of a head")
    parser.add_argument("--width", type=width, default=256, help="at the target (default: %(default)s)")
    parser.add_argument("--base", type=width, default=64, help="width at the base (default: %(default)s)")
    for name, default, help in (
        ("layers", 4, "blocks"),
        ("vocabulary", 512, "tokens that there are"),
        ("batch", 8, "sequences per step"),
        ("length", 128, "tokens per sequence"),
    ):
        parser.add_argument(
            f"--{name}", type=at_least(2), default=default, help=f"{help} (default: %(default)s)"
        )
    add_options(parser, steps=100)
    options = parser.parse_args(argv[1:])
    if options.width <= options.base:
        parser.error(f"--width {options.width} must be larger than --base {options.base}")
    if options.layers == BASE_LAYERS:
        parser.error(f"--layers {BASE_LAYERS} is the base's depth, where branches have no factor; give more")
    return options


def main(options: argparse.Namespace) -> None:
    print(f"width {options.base} → {options.width}, {BASE_LAYERS} → {options.layers} blocks; {device()}")
    results = measure(options)
    print(table(results, {"scratch MiB": lambda result: result["scratch_bytes"] / 2**20}))
    write(options, results)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
