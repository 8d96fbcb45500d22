"""Time of the proxy's loss with `mupwd.instrument` against the same loss without, forward and with its gradient.

Contestants take turns in a random order, one jitted call at a time; the number to read is the ratio, with its
bootstrap interval. The plain function also runs against itself: how far that ratio strays from 1 is the noise.

    python benchmarks/instrument.py --steps 100 --json instrument.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from absl import app
from absl.flags import argparse_flags
from flax import nnx
from turns import add_options, at_least, compare_programs, device, multiple_of, table, write

import mupwd
from mupwd.proxy import Llama, ProxyConfig
from mupwd.proxy.model import next_token_loss

HEAD_DIM = 16
PLAIN = "plain"


def proxy_loss(options: argparse.Namespace) -> tuple[Callable[[Any, Any], Any], Any, jax.Array]:
    """(loss(params, tokens), params, tokens)."""
    config = ProxyConfig(layers=options.layers, head_dim=HEAD_DIM, scan=options.scan, dtype=options.dtype)
    graph, state = nnx.split(Llama(options.width, config, nnx.Rngs(options.seed)))

    def loss(params: Any, tokens: jax.Array) -> jax.Array:
        model = nnx.merge(graph, nnx.State(params))
        return next_token_loss(model(tokens[:, :-1]), tokens[:, 1:])

    shape = (options.batch, options.length + 1)
    tokens = jax.random.randint(jax.random.key(options.seed), shape, 0, config.vocab_size, jnp.int32)
    return loss, nnx.to_pure_dict(state), tokens


def measure(options: argparse.Namespace, *, gradient: bool) -> dict[str, Any]:
    """Seconds of every round, and bytes of scratch memory, per contestant."""
    loss, params, tokens = proxy_loss(options)
    start = jax.tree.map(lambda w: 0.9 * w, params)
    contestants = {
        PLAIN: loss,
        "instrument": mupwd.instrument(loss),
        "instrument, since": mupwd.instrument(loss, since=start),
        "plain, again": loss,
    }
    programs = {
        name: jax.jit(jax.value_and_grad(fn, has_aux=fn is not loss) if gradient else fn)
        .lower(params, tokens)
        .compile()
        for name, fn in contestants.items()
    }
    return compare_programs(programs, (params, tokens), PLAIN, options.steps, options.seed)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse_flags.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    width = multiple_of(HEAD_DIM, "the size of a head")
    parser.add_argument("--width", type=width, default=128, help="of the proxy (default: %(default)s)")
    for name, default, help in (
        ("layers", 4, "blocks"),
        ("batch", 16, "sequences per step"),
        ("length", 128, "tokens per sequence"),
    ):
        parser.add_argument(
            f"--{name}", type=at_least(1), default=default, help=f"{help} (default: %(default)s)"
        )
    parser.add_argument("--scan", action="store_true", help="scan over the layers instead of unrolling them")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of activations (default: float32)",
    )
    add_options(parser, steps=100)
    return parser.parse_args(argv[1:])


def main(options: argparse.Namespace) -> None:
    print(f"width {options.width}, {options.layers} blocks, {options.dtype}; {device()}")
    results = {}
    for what, gradient in (("loss", False), ("loss and gradient", True)):
        results[what] = measure(options, gradient=gradient)
        print(f"\n{what}")
        print(table(results[what], {"scratch MiB": lambda result: result["scratch_bytes"] / 2**20}))
    write(options, results)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
