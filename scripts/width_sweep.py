"""Tune a narrow LLaMA proxy and apply the numbers to a wide one, on whatever this machine has.

    pip install 'mupwd[proxy]'        # on a GPU or TPU with the jax build for it: pip install 'jax[cuda12]', 'jax[tpu]'
    python scripts/width_sweep.py --out runs/width_sweep
    python scripts/width_sweep.py --widths 256 512 1024 2048 --layers 8 --steps 5000 --corpus data/train.bin

The defaults fit one accelerator: widths 128 to 1024, bfloat16, several trials of a narrow width in one program where
some seconds of measurement show that it pays. On a CPU take `mupwd demo`, or small widths. A sweep that was stopped,
or killed, goes on when the same command is started again. Change `Study` below for what flags don't say.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from rich.console import Console

from mupwd.report.setting import study_setting
from mupwd.report.terminal import print_scorecard
from mupwd.report.write import write_report
from mupwd.sweep.grid import parse_values
from mupwd.sweep.proxy_study import run_proxy_study
from mupwd.sweep.study import Study
from mupwd.transfer import scorecard


def parse_arguments() -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, default=Path("runs/width_sweep"))
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[128, 256, 512, 1024], help="base first, target last"
    )
    parser.add_argument("--recipes", nargs="+", default=["mupwd", "mup", "mup_linear", "sp"])
    parser.add_argument(
        "--learning_rates", default="2^-12:2^-4", help="LOW:HIGH by factor 2, LOW:HIGH:FACTOR or A,B,C"
    )
    parser.add_argument("--weight_decays", default="2^-6:2^2:4", help="coupled; likewise")
    parser.add_argument("--seeds", type=int, default=3, help="near the optima")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--head_dim", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--sequence_length", type=int, default=256)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument(
        "--corpus", default="stdlib", help="stdlib, a text file or folder, or a .bin file of tokens"
    )
    parser.add_argument(
        "--processes", type=int, help="trials at the same time (default: 1 on an accelerator)"
    )
    return parser.parse_args()


def main() -> None:
    """Runs the sweep and writes its report; a study that cannot be is told in one line."""
    try:
        run(parse_arguments())
    except ValueError as error:
        sys.exit(f"width_sweep.py: {error}")


def run(flags: argparse.Namespace) -> None:
    """Runs the sweep that the flags say."""
    study = Study(
        widths=tuple(flags.widths),
        recipes=tuple(flags.recipes),
        learning_rates=parse_values("--learning_rates", flags.learning_rates),
        weight_decays=parse_values("--weight_decays", flags.weight_decays),
        seeds=tuple(range(flags.seeds)),
        hyperparameters={
            "corpus": flags.corpus,
            "layers": flags.layers,
            "head_dim": flags.head_dim,
            "dtype": flags.dtype,
            "steps": flags.steps,
            "warmup": flags.steps // 10,
            "batch_size": flags.batch_size,
            "sequence_length": flags.sequence_length,
        },
    )
    console = Console()
    study, results = run_proxy_study(study, flags.out, flags.processes, console)
    scores = scorecard(result.observation() for result in results)
    setting = study_setting(study, results, flags.out, shlex.join(["python", *sys.argv]))
    print_scorecard(console, scores, setting)
    for file in write_report(flags.out, scores, setting):
        print(file)


if __name__ == "__main__":
    main()
