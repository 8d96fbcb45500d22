"""How long a plan for a LLaMA of 405B parameters takes, and the memory: from shapes alone, on any machine.

The model is flax nnx, traced at the base and at twice the base, and built abstractly at the target. Every part is
measured in a process of its own, so that no cache of an earlier one helps. The peer is `flax.nnx.eval_shape` of the
target alone: what anybody who wants to know the shapes of this model pays. The number to read is the ratio to it.

    python benchmarks/plan.py --layers 126 --width 16384 --json plan.json
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
from absl import app
from absl.flags import argparse_flags
from flax import nnx

from mupwd.proxy import Llama, ProxyConfig, family

PARTS = ("family", "plan", "table", "peer")


def measure(scan: bool, layers: int, base: int, width: int) -> dict[str, float]:
    """Seconds per part, in this process; and the peak of its memory in MiB."""
    config = ProxyConfig(
        vocab_size=128256,
        layers=layers,
        head_dim=128,
        kv_heads=8,
        mlp_ratio=3.25,
        scan=scan,
        dtype="bfloat16",
    )
    # What the first trace of a process pays, whatever it traces.
    family(ProxyConfig(layers=1, scan=scan), base=32).plan(64)
    seconds: dict[str, float] = {}

    def timed(part: str, work: Any) -> Any:
        start = time.perf_counter()
        result = work()
        seconds[part] = time.perf_counter() - start
        return result

    made = timed("family", lambda: family(config, base=base))
    plan = timed("plan", lambda: made.plan(width))
    timed("table", lambda: plan.table(learning_rate=3e-4, weight_decay=0.1))
    seconds["arrays on devices"] = len(jax.live_arrays())
    seconds["MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    timed("peer", lambda: nnx.eval_shape(lambda: Llama(width, config, nnx.Rngs(0))))
    return seconds


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse_flags.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=126, help="blocks (default: %(default)s)")
    parser.add_argument("--base", type=int, default=2048, help="width at the base (default: %(default)s)")
    parser.add_argument("--width", type=int, default=16384, help="at the target (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="processes per model (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every timing there as well")
    parser.add_argument("--only", choices=("unrolled", "scanned"), help=argparse.SUPPRESS)
    return parser.parse_args(argv[1:])


def main(arguments: argparse.Namespace) -> None:
    model = (arguments.layers, arguments.base, arguments.width)
    if arguments.only:
        print(json.dumps(measure(arguments.only == "scanned", *model)))
        return
    results: dict[str, list[dict[str, float]]] = {"unrolled": [], "scanned": []}
    flags = [f"--layers={model[0]}", f"--base={model[1]}", f"--width={model[2]}"]
    for _ in range(arguments.repeats):
        for name, found in results.items():
            command = [sys.executable, __file__, *flags, f"--only={name}"]
            found.append(
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            )
    print(
        f"{model[0]} layers, width {model[1]} → {model[2]}; medians of {arguments.repeats} processes; "
        f"jax {jax.__version__}"
    )
    print("            family s   plan s  table s   all s  nnx.eval_shape s  ratio    MiB  arrays on devices")
    for name, found in results.items():
        middle = {key: statistics.median(each[key] for each in found) for key in found[0]}
        whole = sum(middle[part] for part in PARTS[:3])
        print(
            f"{name:10s} {middle['family']:9.2f} {middle['plan']:8.2f} {middle['table']:8.3f} {whole:7.2f} "
            f"{middle['peer']:17.2f} {whole / middle['peer']:6.2f} {middle['MiB']:6.0f} "
            f"{middle['arrays on devices']:18.0f}"
        )
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"arguments": flags, "jax": jax.__version__, "results": results})
        )


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
