"""How the top singular value grows with width under AdamW, from one kind of data to another.

Two matrices between normalisations, trained by AdamW until weight decay and updates balance. There

    sigma_top ∝ sqrt(lr / wd) * width**e

and a learning rate ∝ 1/width keeps sigma_top the same at every width if the weight decay grows as
width**(2e - 1): constant at e = 0.5, sqrt(width) at 0.75, linear at 1. Decays are coupled, as in optax.adamw:
a step decays by lr * wd * w. What e is depends on what the network learns, as the settings show:

    random          independent Gaussian matrices in the place of gradients: no network at all
    rank_S          half of the targets' power is a function of the inputs, of rank 8 (width/32)**S; half is noise
    noise_V         targets of rank 8 at every width, of which noise makes up the share V
    covariance_A    targets are noise; the inputs' covariance has the eigenvalues k**-A
    relu            targets are noise; ReLU, whose outputs have a mean, in the place of tanh, whose have none
    relu_rank_S     as rank_S, with ReLU

At every width the runs take 7 pairs of learning rate and decay, so that their exponents are measured too.

    pip install 'mupwd[proxy]'
    python examples/synthetic.py --quick                    4 settings, short runs: within a minute
    python examples/synthetic.py                            all settings at 3 widths: some minutes
    python examples/synthetic.py --widths 32 64 128 256     and a fourth width
    python examples/synthetic.py --settings rank_0 rank_1   some settings only

Writes measurements.json (the singular values of every run), exponents.json and synthetic.png to --out. A study
that was interrupted goes on where it was when the command is started again; settings and widths can be added.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app
from absl.flags import argparse_flags
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from synthetic_figure import draw
from synthetic_network import EVERY, MATRICES, RANK, SPECTRA, Setting, plan, train

from mupwd.diagnostics.powers import Exponent, fit_powers
from mupwd.files import write_atomically

BASE, LEARNING_RATE = 32, 2.0**-5  # the rate's own size changes nothing: the network is free of scale
SETTINGS = {
    "random": Setting(random_gradients=True),
    **{f"rank_{s:g}": Setting(rank_exponent=s) for s in (0, 0.25, 0.5, 0.75, 1)},
    **{f"noise_{v:g}": Setting(noise=v) for v in (0, 0.1, 0.9, 1)},
    **{f"covariance_{a:g}": Setting(noise=1, covariance=a) for a in (0.5, 1)},
    "relu": Setting(noise=1, relu=True),
    "relu_rank_0.5": Setting(rank_exponent=0.5, relu=True),
}
# Learning rate and decay as factors of the middle pair: each on its own, and against each other.
PAIRS = ((1, 1), (2, 1), (0.5, 1), (1, 2), (1, 0.5), (2, 0.5), (0.5, 2))
SLOWEST = 2  # decay timescale of the slowest pair, in those of the middle one
QUICK = {"settings": ["random", "rank_0", "rank_0.5", "rank_1"], "seeds": 1, "steps": 384, "timescale": 48}
FULL = {"settings": list(SETTINGS), "seeds": 2, "steps": 1280, "timescale": 128}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse_flags.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="4 settings, shorter runs, one seed")
    add("--out", type=Path, default=Path("runs/synthetic"), metavar="DIR", help="default: %(default)s")
    add("--settings", nargs="+", choices=SETTINGS, metavar="NAME", help=f"of: {', '.join(SETTINGS)}")
    add("--widths", type=_positive, nargs="+", default=[32, 64, 128], help="default: 32 64 128")
    add("--seeds", type=_positive, metavar="N", help="per pair and width (default: 2; quick: 1)")
    add("--steps", type=_positive, help="of every run (default: 1280; quick: 384)")
    add(
        "--timescale",
        type=_positive,
        metavar="STEPS",
        help="1 / (lr * wd) of the middle pair (default: 128; quick: 48)",
    )
    add("--batch_size", type=_positive, default=64, help="examples in a step (default: %(default)s)")
    options = parser.parse_args(argv[1:])
    for name, value in (QUICK if options.quick else FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.widths = sorted(set(options.widths))
    if len(options.widths) < 2 or options.widths[0] <= RANK:
        parser.error(
            f"--widths {' '.join(map(str, options.widths))}: expected two or more widths above {RANK}, "
            "the targets' rank"
        )
    # Spectra are averaged over the second half, and must not remember the start.
    shortest = max(4 * SLOWEST * options.timescale, 2 * SPECTRA * EVERY)
    if options.steps < shortest:
        parser.error(
            f"--steps {options.steps} is too short for a steady state: with --timescale {options.timescale} the "
            f"slowest runs decay within {SLOWEST * options.timescale} steps; give {shortest} or more"
        )
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def measure(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Trains what has not been trained yet: `{"setting/width": the measurements of its runs}`."""
    file = options.out / "measurements.json"
    runs = {name: getattr(options, name) for name in ("seeds", "steps", "timescale", "batch_size")}
    stored = {"runs": runs, "groups": {}}
    if file.exists():
        stored = json.loads(file.read_text())
        if stored["runs"] != runs:
            raise SystemExit(
                f"{file} holds runs of {_words(stored['runs'])}; asked for {_words(runs)}: give these, or "
                "another --out"
            )
    groups: dict[str, Any] = stored["groups"]
    wanted = [(width, name) for width in options.widths for name in options.settings]
    missing = [(width, name) for width, name in wanted if f"{name}/{width}" not in groups]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, expand=True) as progress:
        task = progress.add_task("", total=sum(width**2 for width, _ in missing))
        for width, name in missing:
            progress.update(task, description=f"{name}, width {width}")
            groups[f"{name}/{width}"] = _group(width, SETTINGS[name], options)
            write_atomically(file, json.dumps(stored))
            progress.advance(task, width**2)
    return {f"{name}/{width}": groups[f"{name}/{width}"] for width, name in wanted}


def _words(runs: dict[str, int]) -> str:
    return " ".join(f"--{name} {value}" for name, value in runs.items())


def _group(width: int, setting: Setting, options: argparse.Namespace) -> dict[str, Any]:
    pairs = np.array([pair for pair in PAIRS for _ in range(options.seeds)])
    rate = LEARNING_RATE * pairs[:, 0]
    decay = pairs[:, 1] / (options.timescale * LEARNING_RATE)
    seed = np.tile(np.arange(options.seeds), len(PAIRS))
    measured = train(width, BASE, setting, rate, decay, seed, options.steps, options.batch_size)
    rule = plan(width, BASE)[MATRICES[0]]
    return {
        "width": [width] * len(seed),
        "learning_rate": (rate * rule.lr).tolist(),  # the matrices' own, at this width
        "weight_decay": (decay * rule.wd).tolist(),
        "seed": seed.tolist(),
        **{name: _rounded(value) for name, value in measured._asdict().items()},
    }


def _rounded(values: np.ndarray) -> Any:
    return [float(f"{x:.6g}") for x in values] if values.ndim == 1 else [_rounded(x) for x in values]


def fit(groups: dict[str, Any], name: str, matrix: int) -> dict[str, Any]:
    """Exponents of one matrix in one setting, with 95% intervals."""
    parts = [group for key, group in groups.items() if key.split("/")[0] == name]

    def joined(key: str) -> list[Any]:
        return [value for group in parts for value in group[key]]

    columns = {key: joined(key) for key in ("width", "learning_rate", "weight_decay")}
    sigma = [np.array(run[matrix]) for run in joined("sigma")]
    stable, gaussian = (
        np.array([run[matrix] for run in joined(key)]) for key in ("stable_rank", "gaussian_stable_rank")
    )
    top = fit_powers(columns, [s[0] for s in sigma]).exponents
    others = {
        "frobenius": [np.sqrt(np.sum(s**2)) for s in sigma],
        "stable_rank": stable,
        "gaussian_stable_rank": gaussian,
    }
    ends = [np.array(columns["width"]) == width for width in (min(columns["width"]), max(columns["width"]))]
    return {
        "e": _plain(top["width"]),
        "learning_rate": _plain(top["learning_rate"]),
        "weight_decay": _plain(top["weight_decay"]),
        **{key: _plain(fit_powers(columns, y).exponents["width"]) for key, y in others.items()},
        "stable_ranks": [float(stable[end].mean()) for end in ends],
        "gaussian_stable_ranks": [float(gaussian[end].mean()) for end in ends],
    }


def _plain(exponent: Exponent) -> list[float]:
    low, high = exponent.interval or (float("nan"), float("nan"))
    return [exponent.value, low, high]


def table(fits: dict[str, dict[str, Any]]) -> str:
    """The exponents as aligned text."""

    def shown(values: Sequence[float]) -> str:
        value, low, high = (f"{x:.2f}" for x in values)
        return f"{value} [{low}, {high}]"

    head = f"{'setting':15}{'matrix':7}{'e':21}{'learning rate':21}{'weight decay':23}{'Frobenius':>9}"
    lines = [f"{head}{'stable rank':>15}{'Gaussian':>15}   decay ∝ width**"]
    for name, matrices in fits.items():
        for matrix, f in matrices.items():
            ranks = (
                f"{a:.1f} → {b:.1f}" for a, b in (f[k] for k in ("stable_ranks", "gaussian_stable_ranks"))
            )
            lines.append(
                f"{name:15}{matrix:7}{shown(f['e']):21}{shown(f['learning_rate']):21}{shown(f['weight_decay']):23}"
                f"{f['frobenius'][0]:9.2f}{''.join(f'{r:>15}' for r in ranks)}   "
                f"{shown([2 * x - 1 for x in f['e']])}"
            )
    return "\n".join(lines)


def main(options: argparse.Namespace) -> None:
    console = Console(stderr=True)
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        groups = measure(options, console)
    except KeyboardInterrupt:
        raise SystemExit(f"interrupted; the same command goes on from {options.out}") from None
    fits = {
        name: {matrix: fit(groups, name, index) for index, matrix in enumerate(MATRICES)}
        for name in options.settings
    }
    print(table(fits))
    print(
        "\ne, and the exponents of learning rate and weight decay (a half and minus a half by the law), are of the "
        "top singular value, with 95% intervals.\nFrobenius: exponent of that norm in width. Stable rank: "
        "‖W‖_F² / sigma_top² at the narrowest and the widest; Gaussian: the same if updates were\n"
        "independent Gaussian matrices with the second moments that they have. Last: what keeps sigma_top, with a "
        "learning rate ∝ 1/width."
    )
    write_atomically(options.out / "exponents.json", json.dumps(fits, indent=1))
    picture = draw(groups, fits, options.out / "synthetic.png", options.timescale)
    print(f"\n{time.monotonic() - started:.0f} s; wrote measurements.json, exponents.json and {picture}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
