"""`mupwd demo`: tune a narrow LLaMA proxy, apply the numbers to a wide one, and see what it costs."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mupwd.commands.shared import integers, interrupted, need, split_names

if TYPE_CHECKING:
    from mupwd.sweep.study import Study

_EPILOG = """\
what it does:
  Trains small LLaMA-style models on real text (by default the source of Python's standard library). At the
  narrowest width, the base, every learning rate meets every weight decay, and the best pair is "tuned".
  At the wider widths all learning rates run at the tuned decay, then all decays at the best of them: what a
  person would see who tuned there. Around the optima three seeds run, so that noise is known.

  It does so for two recipes: mupwd (muP with decay scaled by sqrt(width)) and sp (one learning rate and one
  decay for all parameters and all widths), and prints for each
    the optimum per width   in powers of two, with 95% intervals
    the drift               how many octaves it moves when the width doubles
    the regret              what the tuned pair loses at the target against the best pair there

  A weight decay is coupled, as in optax.adamw: a step decays by learning rate * decay * weight.

  Stop it whenever you like, even with kill -9: the same command goes on where it stopped.

examples:
  mupwd demo                                        the whole study
  mupwd demo --quick --out runs/quick               a taste of it; too short for firm verdicts
  mupwd demo --widths 64,128,256 --out runs/wide    other widths; multiples of 16
  mupwd demo --learning_rates 2^-10:2^-2            a wider grid: LOW:HIGH by factor 2, LOW:HIGH:FACTOR, or A,B,C
  mupwd demo --recipes mupwd,mup,mup_linear,sp      more recipes
  mupwd demo --corpus ~/books                       your own text files

files in --out:
  index.html     the result as a page; open it in a browser, no network needed
  curves.png     its curves as a picture
  summary.json   every number of the verdict
  trials/        one JSON file per trial
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "demo",
        help="tune at a small width, apply at a large one, on real text, and print what it costs",
        description="Tune a narrow model, apply the numbers to a wide one, and see what that costs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), metavar="DIR", help="default: runs/demo"
    )
    parser.add_argument("--quick", action="store_true", help="short runs, two widths, two seeds")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default: 0)")
    study = parser.add_argument_group("the study")
    study.add_argument("--seeds", type=int, metavar="N", help="near the optima (default: 3; quick: 2)")
    study.add_argument("--widths", help="base first, target last (default: 32,64,128; quick: 32,64)")
    study.add_argument("--recipes", default="mupwd,sp", help="default: mupwd,sp")
    study.add_argument("--learning_rates", metavar="VALUES", help="default: 2^-9:2^-3; quick: 2^-8:2^-2")
    study.add_argument(
        "--weight_decays", metavar="VALUES", help="coupled (default: 2^-6:2^0:4; quick: 2^-6:2^2:4)"
    )
    study.add_argument("--steps", type=int, help="of each run (default: 400; quick: 100)")
    model = parser.add_argument_group("the model and its data")
    model.add_argument(
        "--corpus", default="stdlib", metavar="SPEC", help="stdlib, a text file or folder, or a .bin file"
    )
    model.add_argument("--layers", type=int, default=2, help="default: 2")
    model.add_argument("--batch_size", type=int, default=16, help="sequences in a step (default: 16)")
    model.add_argument("--sequence_length", type=int, default=64, help="tokens in a sequence (default: 64)")
    machine = parser.add_argument_group("the machine")
    machine.add_argument(
        "--processes",
        type=int,
        help="trials at the same time (default: one per core on CPU, at most 8; else 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the study, prints and writes the verdict."""
    need("the demo", "matplotlib", "rich", "flax")
    from mupwd.report.setting import study_setting
    from mupwd.report.terminal import PatientConsole, print_scorecard
    from mupwd.report.write import write_report
    from mupwd.sweep.proxy_study import run_proxy_study
    from mupwd.transfer import scorecard

    console = PatientConsole()
    study = _study(args)
    start = time.monotonic()
    try:
        study, results = run_proxy_study(study, args.out, args.processes, console)
    except KeyboardInterrupt:
        return interrupted("mupwd demo", args.out)
    scores = scorecard(result.observation() for result in results)
    setting = study_setting(study, results, args.out, shlex.join(["mupwd", *sys.argv[1:]]))
    files = write_report(args.out, scores, setting)  # before printing, whose reader may be gone
    print_scorecard(console, scores, setting)
    minutes = (time.monotonic() - start) / 60
    console.print(f"\n{len(results)} trials; this took {minutes:.1f} minutes. Written:", style="dim")
    for file in files:
        console.print(f"  {file}", soft_wrap=True, highlight=False)
    return 0


def _study(args: argparse.Namespace) -> Study:
    from mupwd.sweep.grid import parse_values
    from mupwd.sweep.study import Study

    if args.seeds is not None and args.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {args.seeds}")
    if args.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {args.seed}")
    steps = (100 if args.quick else 400) if args.steps is None else args.steps
    seeds = args.seeds or (2 if args.quick else 3)
    # Only what is left out has a default: what is empty is a mistake.
    default = ("32,64", "2^-8:2^-2", "2^-6:2^2:4") if args.quick else ("32,64,128", "2^-9:2^-3", "2^-6:2^0:4")
    widths, rates, decays = (
        other if given is None else given
        for given, other in zip((args.widths, args.learning_rates, args.weight_decays), default, strict=True)
    )
    return Study(
        widths=integers("--widths", widths),
        recipes=_recipes(args.recipes),
        learning_rates=parse_values("--learning_rates", rates),
        weight_decays=parse_values("--weight_decays", decays),
        seeds=tuple(range(args.seed, args.seed + seeds)),
        hyperparameters={
            "corpus": args.corpus,
            "layers": args.layers,
            "steps": steps,
            "warmup": steps // 10,
            "batch_size": args.batch_size,
            "sequence_length": args.sequence_length,
        },
    )


def _recipes(text: str) -> tuple[str, ...]:
    from mupwd import recipes

    return tuple(recipes.get(name).name for name in split_names(text))
