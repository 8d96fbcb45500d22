"""Contestants that take turns in a random order, and the ratios of their times.

One call at a time, so that whatever else the machine does falls on all of them; the number to read is the ratio
to one of them, with its bootstrap interval. A contestant that runs twice shows the noise: how far its ratio to
itself strays from 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.stats


def take_turns(
    contestants: Mapping[str, Callable[[], Any]], rounds: int, seed: int, warmup: int = 0
) -> dict[str, list[float]]:
    """Returns the seconds of every timed round, per contestant; each returns what is to be waited for."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    order = np.random.default_rng(seed)
    for number in range(warmup + rounds):
        for name in order.permutation(list(contestants)):
            start = time.perf_counter()
            jax.block_until_ready(contestants[name]())
            elapsed = time.perf_counter() - start
            if number >= warmup:
                seconds[name].append(elapsed)
        print(f"\rround {number + 1} of {warmup + rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return seconds


def ratio(seconds: Sequence[float], reference: Sequence[float], seed: int) -> tuple[float, float, float]:
    """Ratio of median times, and its 95% interval from resampled rounds."""

    def statistic(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.median(a, axis=axis) / np.median(b, axis=axis)

    if seconds is reference:
        return 1.0, 1.0, 1.0
    pair = np.asarray(seconds), np.asarray(reference)
    resampled = scipy.stats.bootstrap(
        pair, statistic, paired=True, vectorized=True, method="percentile", rng=np.random.default_rng(seed)
    )
    low, high = resampled.confidence_interval
    return float(statistic(*pair)), float(low), float(high)


def compare_programs(
    programs: Mapping[str, Any], arguments: Sequence[Any], reference: str, rounds: int, seed: int
) -> dict[str, Any]:
    """Returns, per compiled program, seconds of each round, their ratio to the reference's, and bytes of scratch.

    Raises:
      AssertionError: their first results differ, so that times say nothing.
    """
    values = {name: float(jax.tree.leaves(program(*arguments))[0]) for name, program in programs.items()}
    np.testing.assert_allclose(list(values.values()), values[reference], rtol=1e-5)
    calls = {name: lambda program=program: program(*arguments) for name, program in programs.items()}
    seconds = take_turns(calls, rounds, seed, warmup=2)
    return {
        name: {
            "seconds": times,
            "ratio": ratio(times, seconds[reference], seed),
            "scratch_bytes": programs[name].memory_analysis().temp_size_in_bytes,
        }
        for name, times in seconds.items()
    }


def table(
    results: Mapping[str, Mapping[str, Any]], columns: Mapping[str, Callable[[Any], float]] | None = None
) -> str:
    """The results as aligned text.

    Args:
      results: per contestant its "seconds" and its "ratio", and what `columns` read.
      columns: further ones, by heading.
    """
    columns = columns or {}
    width = 2 + max(map(len, results))
    head = f"{'':{width}}{'ms per step':>12}{'ratio':>8}{'95% interval':>18}"
    lines = [head + "".join(f"{heading:>{len(heading) + 2}}" for heading in columns)]
    for name, result in results.items():
        value, low, high = result["ratio"]
        line = f"{name:{width}}{1e3 * np.median(result['seconds']):12.2f}{value:8.3f}{f'{low:.3f} to {high:.3f}':>18}"
        lines.append(line + "".join(f"{read(result):{len(h) + 2}.1f}" for h, read in columns.items()))
    return "\n".join(lines)


def device() -> str:
    """Where it ran, for people."""
    first = jax.devices()[0]
    return f"on {first.device_kind} ({first.platform}), jax {jax.__version__}"


def write(options: argparse.Namespace, results: Mapping[str, Any], **facts: Any) -> None:
    """Writes every timing to the file of `--json`, where it is given."""
    if options.json is None:
        return
    facts |= {
        "device": jax.devices()[0].device_kind,
        "machine": platform.processor() or platform.machine(),
        "jax": jax.__version__,
        "arguments": {name: value for name, value in vars(options).items() if name != "json"},
        "results": results,
    }
    options.json.write_text(json.dumps(facts, indent=1))


def add_options(parser: argparse.ArgumentParser, steps: int) -> None:
    """Adds `--steps`, `--seed` and `--json`."""
    parser.add_argument("--steps", type=at_least(2), default=steps, help="timed (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--json", type=_new_file, metavar="FILE", help="write every timing there as well")


def at_least(least: int) -> Callable[[str], int]:
    """A type of arguments: whole numbers from `least` on."""

    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return whole_number


def multiple_of(part: int, what: str) -> Callable[[str], int]:
    """A type of arguments: positive multiples of `part`, which is `what`."""

    def multiple(text: str) -> int:
        if not text.isdecimal() or int(text) < 1 or int(text) % part:
            raise argparse.ArgumentTypeError(f"{text!r} is not a positive multiple of {part}, {what}")
        return int(text)

    return multiple


def _new_file(text: str) -> Path:
    file = Path(text)
    if not file.resolve().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: its folder does not exist; make it first")
    return file
