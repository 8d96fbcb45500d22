"""Tokens per second of the proxy, as a share of the machine's own matrix-product rate, and against PyTorch.

A step is a whole training step: batch, loss, gradients, clipping, AdamW. Its floating-point operations are
counted as 6 per token and matrix parameter plus 12·T·d per token and layer for attention (all of the T² scores).
The machine's rate is that of a float32 product of two 2048² matrices in the same JAX. Contestants take turns, and
each ratio is taken within its turn, so that whatever else the machine does falls on both sides.

    python benchmarks/proxy.py
    python benchmarks/proxy.py --torch /path/to/python   # with torch and transformers installed there

`--torch` adds Hugging Face transformers' LLaMA of the same shapes, in a process of the given Python (this one by
default): eager PyTorch, scaled-dot-product attention, fused AdamW.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app
from absl.flags import argparse_flags

from mupwd.paths import named_leaves
from mupwd.proxy import Hyper, Program, ProxyConfig, TrainConfig, family

MATRIX = 2048
LEARNING_RATE, WEIGHT_DECAY = 2**-8, 0.1

TORCH_WORKER = """
import json, sys, time
import torch, transformers
torch.set_num_threads(int(sys.argv[2]))
shapes = json.loads(sys.argv[1])
B, T, steps = shapes.pop("batch_size"), shapes.pop("sequence_length"), shapes.pop("steps")
torch.manual_seed(0)
model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shapes, attn_implementation="sdpa"))
optimizer = torch.optim.AdamW(model.parameters(), lr=2**-8, weight_decay=0.1, fused=True)
def step():
    tokens = torch.randint(0, shapes["vocab_size"], (B, T))
    optimizer.zero_grad(set_to_none=True)
    model(input_ids=tokens, labels=tokens).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
step()
print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(steps):
        step()
    print(time.perf_counter() - start, flush=True)
"""


class Torch:
    """The peer in a process of its own, which works only while it is asked to."""

    def __init__(self, python: str, width: int, config: ProxyConfig, options: argparse.Namespace):
        shapes = {
            "vocab_size": config.vocab_size,
            "hidden_size": width,
            "intermediate_size": config.hidden(width),
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads(width),
            "num_key_value_heads": config.key_value_heads(width),
            "batch_size": options.batch_size,
            "sequence_length": options.sequence_length,
            "steps": options.steps,
        }
        command = [python, "-c", TORCH_WORKER, json.dumps(shapes), str(len(os.sched_getaffinity(0)))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._answer() != "ready":
            raise RuntimeError(
                f"the PyTorch process did not start; run it alone: {python} -c 'import transformers'"
            )

    def seconds(self) -> float:
        """Runs the steps of one turn."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        taken = float(self._answer())
        # OpenMP's threads spin for a while after their last work.
        time.sleep(0.3)
        return taken

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def has_torch(python: str) -> bool:
    """Whether that Python can import torch and transformers."""
    return subprocess.run([python, "-c", "import torch, transformers"], capture_output=True).returncode == 0


def matmul_seconds() -> Callable[[], float]:
    """Returns a function that times one product of two matrices."""
    a = jax.random.normal(jax.random.key(0), (MATRIX, MATRIX))
    product = jax.jit(lambda x: x @ a)
    product(a).block_until_ready()

    def seconds() -> float:
        start = time.perf_counter()
        product(a).block_until_ready()
        return time.perf_counter() - start

    return seconds


def proxy_seconds(
    width: int, config: ProxyConfig, options: argparse.Namespace
) -> tuple[Callable[[], float], int]:
    """Returns a function that times the steps of one turn, and the operations per token."""
    train = TrainConfig(
        steps=10**6,
        warmup=100,
        batch_size=options.batch_size,
        sequence_length=options.sequence_length,
        log_every=options.steps,
    )
    program = Program(width, config, train, family(config, base=options.widths[0]).plan(width))
    tokens = jax.random.randint(jax.random.key(0), (2**20,), 0, config.vocab_size, jnp.uint8)
    hyper = Hyper.of(LEARNING_RATE, WEIGHT_DECAY, 0)
    segment = jax.jit(program.segment, donate_argnums=0)
    state = jax.jit(program.init)(hyper)
    kernels = sum(leaf.size for path, leaf in named_leaves(state.params).items() if path.endswith("kernel"))
    box = [segment(state, hyper, tokens, np.int32(1))[0]]

    def seconds() -> float:
        start = time.perf_counter()
        box[0], metrics = segment(box[0], hyper, tokens, np.int32(options.steps))
        metrics["train/loss"].block_until_ready()
        return time.perf_counter() - start

    return seconds, 6 * kernels + 12 * options.sequence_length * width * config.layers


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the median and its 95 % bootstrap interval."""
    draws = np.random.default_rng(0).choice(np.asarray(values), (2000, len(values)))
    low, high = np.percentile(np.median(draws, axis=1), (2.5, 97.5))
    return median(values), float(low), float(high)


def measure(width: int, options: argparse.Namespace) -> dict[str, Any]:
    """Returns tokens per second and ratios at one width."""
    config = ProxyConfig(layers=options.layers, head_dim=options.head_dim, mlp_ratio=options.mlp_ratio)
    ours, operations = proxy_seconds(width, config, options)
    peer = Torch(options.torch, width, config, options) if options.torch else None
    matmul = matmul_seconds()
    tokens = options.steps * options.batch_size * options.sequence_length
    rates: dict[str, list[float]] = {"proxy": [], "matmul": [], "torch": []}
    for _ in range(options.rounds):
        before = matmul()
        rates["proxy"].append(tokens / ours())
        rates["matmul"].append(2 * MATRIX**3 / (0.5 * (before + matmul())))
        if peer is not None:
            rates["torch"].append(tokens / peer.seconds())
    if peer is not None:
        peer.close()
    shares = [p * operations / m for p, m in zip(rates["proxy"], rates["matmul"], strict=True)]
    result = {
        "width": width,
        "tokens_per_second": median(rates["proxy"]),
        "matmul_gflops": median(rates["matmul"]) / 1e9,
        "share_of_matmul": interval(shares),
    }
    if peer is not None:
        ratios = [p / t for p, t in zip(rates["proxy"], rates["torch"], strict=True)]
        result |= {"torch_tokens_per_second": median(rates["torch"]), "ratio_to_torch": interval(ratios)}
    return result


def row(result: dict[str, Any]) -> str:
    """Returns one line of the table."""
    share, low, high = (100 * x for x in result["share_of_matmul"])
    text = (
        f"{result['width']:>6}  {result['tokens_per_second']:>10,.0f}  {result['matmul_gflops']:>8.0f}  "
        f"{share:>5.0f} % [{low:.0f}, {high:.0f}]"
    )
    if "ratio_to_torch" in result:
        ratio, low, high = result["ratio_to_torch"]
        text += f"  {result['torch_tokens_per_second']:>10,.0f}  {ratio:.2f} [{low:.2f}, {high:.2f}]"
    return text


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the flags."""
    parser = argparse_flags.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--head_dim", type=int, default=32)
    parser.add_argument("--mlp_ratio", type=float, default=8 / 3)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--sequence_length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5, help="steps in one turn")
    parser.add_argument("--rounds", type=int, default=15, help="turns of every contestant")
    parser.add_argument(
        "--torch",
        nargs="?",
        const=sys.executable,
        metavar="PYTHON",
        help="compare with PyTorch, in this Python",
    )
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    return parser.parse_args(argv[1:])


def main(options: argparse.Namespace) -> None:
    """Measures every width and prints the table."""
    if options.torch and not has_torch(options.torch):
        print(f"torch and transformers are not installed for {options.torch}: that comparison is left out")
        options.torch = None
    print(
        f"{jax.devices()[0].device_kind}, {len(os.sched_getaffinity(0))} cores; {options.layers} layers, ",
        end="",
    )
    print(f"batches of {options.batch_size} x {options.sequence_length}; medians with 95 % intervals")
    heading = f"{'width':>6}  {'tokens/s':>10}  {'GFLOP/s':>8}  {'of the 2048² rate':>17}"
    print(heading + (f"  {'torch':>10}  ratio to torch" if options.torch else ""))
    results = []
    for width in options.widths:
        results.append(measure(width, options))
        print(row(results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
