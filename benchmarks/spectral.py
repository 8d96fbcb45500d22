"""Largest singular values: time, passes and error of `mupwd` and its peers, accuracy in use, cost in training.

Four parts; `--parts` chooses among them.

cold       one matrix of which nothing is known: `mupwd.spectrum` against decompositions and iterations
warm       the matrix again after 10 steps of drift: `mupwd.track_spectrum` against the same
use        many observations along drifts and along a training run of the proxy: how often the error is within the
           tolerance, how often the estimate covers it, passes per observation
training   time of a train step of the proxy with the tracker, observing every 10 steps, against without

A pass is one read of the matrix. Errors are against LAPACK in float64, the largest over the first 8 values (the
first, where a peer finds one) and over a stack. Contestants take turns in a random order; the number to read is the
ratio of a peer's time to ours, with its bootstrap interval.

    python benchmarks/spectral.py --json spectral.json
    python benchmarks/spectral.py --parts cold warm --widths 512 --stack 4 256 1024     # a quick look
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app
from absl.flags import argparse_flags
from spectral_matrices import KINDS, K, Truth, drifted, largest_error, plan_of, truth
from spectral_peers import Contestant, contestant, peers
from spectral_training import overhead, overhead_table
from spectral_use import use, use_table
from turns import add_options, at_least, device, multiple_of, ratio, take_turns, write

import mupwd

PARTS = ("cold", "warm", "use", "training")
OURS = {"cold": "mupwd.spectrum", "warm": "mupwd.track_spectrum"}
RATE, STEPS = 1e-3, 10  # of the drift between two observations, as in a training run of the proxy


def cold(matrices: jax.Array, tol: float) -> Contestant:
    """`mupwd.spectrum`."""
    plan = plan_of(matrices)
    passes = np.mean(mupwd.spectrum({"w": matrices}, plan, K, tol)["w"].passes)
    return Contestant(lambda: mupwd.spectrum({"w": matrices}, plan, K, tol)["w"], _sigma, K, float(passes))


def start_of_tracking(matrices: jax.Array, tol: float) -> Contestant:
    """The first observation of `mupwd.track_spectrum`, which iterates at every size."""
    tracker = mupwd.track_spectrum(plan_of(matrices), K, every=1, tol=tol)
    params = {"w": matrices}
    update, state = jax.jit(tracker.update), tracker.init(params)

    def call() -> Any:
        return update(params, state, params)[1].observations["w"]

    return Contestant(call, _sigma, K, float(np.mean(call().passes)))


def warm(before: jax.Array, matrices: jax.Array, tol: float) -> Contestant:
    """`mupwd.track_spectrum`, the observation after that of `before`; the geometry of the step included."""
    tracker = mupwd.track_spectrum(plan_of(matrices), K, every=1, tol=tol)
    update = jax.jit(tracker.update)
    moved = {"w": matrices - before}
    _, state = update(moved, tracker.init({"w": before}), {"w": before})

    def call() -> Any:
        return update(moved, state, {"w": matrices})[1].observations["w"]

    return Contestant(call, _sigma, K, float(np.mean(call().passes)))


def _sigma(found: Any) -> np.ndarray:
    return np.asarray(found.sigma)


def measure(before: np.ndarray, parts: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Times every contestant on some matrices after their drift.

    Returns:
      {part: {contestant: seconds of each round, ratio to ours, error, passes}}.
    """
    after = drifted(before, RATE, STEPS, options.seed)
    exact, exact_before = truth(after), truth(before)
    matrices = jnp.asarray(after)
    contestants: dict[tuple[str, str], Contestant] = {}
    for part in parts:
        start: Truth | None = exact_before if part == "warm" else None
        ours = (
            cold(matrices, options.tol)
            if part == "cold"
            else warm(jnp.asarray(before), matrices, options.tol)
        )
        contestants[part, OURS[part]] = ours
        if part == "cold":
            contestants[part, "mupwd.track_spectrum, first"] = start_of_tracking(matrices, options.tol)
        for name, peer in peers().items():
            if not isinstance(peer, str) and (part == "cold" or peer.warm):
                contestants[part, name] = contestant(peer, matrices, exact, start, options.tol, options.seed)
    # A decomposition knows no start: one measurement serves both tables.
    seconds = take_turns(
        {f"{part} {name}": one.call for (part, name), one in contestants.items()},
        options.steps,
        options.seed,
        1,
    )
    results: dict[str, Any] = {part: {} for part in parts}
    for (part, name), one in contestants.items():
        found = one.found(one.call()).reshape(len(exact.sigma), -1)
        results[part][name] = {
            "seconds": seconds[f"{part} {name}"],
            "values": one.values,
            "passes": one.passes,
            "error": {count: largest_error(found, exact.sigma, count) for count in {1, one.values}},
        }
    if set(parts) == {"cold", "warm"}:
        for name, result in results["cold"].items():
            if result["passes"] is None:
                results["warm"][name] = result
    for part in parts:
        ours_seconds = results[part][OURS[part]]["seconds"]
        results[part] = {
            name: {**result, "ratio": ratio(result["seconds"], ours_seconds, options.seed)}
            for name, result in results[part].items()
        }
    return results


def peers_table(results: dict[str, Any]) -> str:
    """The contestants of one case as aligned text."""
    lines = [
        f"  {'':30}{'ms':>10}{'times ours':>12}{'95% interval':>20}{'passes':>8}{'top-1':>10}{'top-8':>10}"
    ]
    for name, result in results.items():
        value, low, high = result["ratio"]
        errors = [f"{result['error'][n]:.1e}" if n in result["error"] else "-" for n in (1, K)]
        passes = "-" if result["passes"] is None else f"{result['passes']:.3g}"
        interval = f"{low:.3g} to {high:.3g}"
        lines.append(
            f"  {name:30}{1e3 * np.median(result['seconds']):10.2f}{value:12.3g}{interval:>20}{passes:>8}"
            f"{errors[0]:>10}{errors[1]:>10}"
        )
    return "\n".join(lines)


def cases(options: argparse.Namespace) -> dict[str, Callable[[], np.ndarray]]:
    """The matrices that are measured, by name; made when their turn comes."""
    found: dict[str, Callable[[], np.ndarray]] = {}
    for width in options.widths:
        for kind in ("Gaussian", "heavy-tailed"):
            found[f"{kind}, {width} x {width}"] = lambda kind=kind, width=width: KINDS[kind](
                width, width, options.seed
            )
    count, rows, columns = options.stack
    found[f"heavy-tailed, {count} x {rows} x {columns}"] = lambda: np.stack(
        [KINDS["heavy-tailed"](rows, columns, options.seed + index) for index in range(count)]
    )
    return found


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse_flags.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = multiple_of(64, "a convenient size")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)"
    )
    parser.add_argument(
        "--widths",
        type=size,
        nargs="+",
        default=[256, 1024, 2048],
        help="of square matrices (default: 256 1024 2048)",
    )
    parser.add_argument(
        "--stack",
        type=at_least(1),
        nargs=3,
        default=[12, 1024, 4096],
        metavar=("N", "ROWS", "COLUMNS"),
        help="a stacked parameter (default: 12 1024 4096)",
    )
    parser.add_argument("--tol", type=float, default=1e-3, help="relative error (default: %(default)s)")
    parser.add_argument(
        "--train_widths", type=size, nargs="+", default=[256], help="of the proxy (default: 256)"
    )
    add_options(parser, steps=5)
    return parser.parse_args(argv[1:])


def main(options: argparse.Namespace) -> None:
    print(f"K = {K}, tolerance {options.tol:g}; {device()}")
    for name, peer in peers().items():
        if isinstance(peer, str):
            print(f"{name}: {peer}")
    results: dict[str, Any] = {}
    timed = [part for part in ("cold", "warm") if part in options.parts]
    with jax.default_matmul_precision("highest"):
        for name, make in cases(options).items() if timed else ():
            results[name] = measure(make(), timed, options)
            for part in timed:
                print(f"\n{name}, {part}\n{peers_table(results[name][part])}", flush=True)
    if "use" in options.parts:
        results["use"] = use(options.tol, options.seed)
        print(f"\naccuracy in use\n{use_table(results['use'])}", flush=True)
    if "training" in options.parts:
        for width in options.train_widths:
            results[f"training, width {width}"] = found = overhead(width, options)
            print(f"\ntrain step, width {width}\n{overhead_table(found)}", flush=True)
    write(options, results)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
