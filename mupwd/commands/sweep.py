"""`mupwd sweep`: widths × learning rates × decays × seeds, started, stopped, shared and judged."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mupwd.commands.shared import again, interrupted, need

_EPILOG = """\
a sweep is a full grid, declared by flags, by a file, or by a file that flags override:

  # sweep.toml
  widths = [32, 64, 128]                 # the narrowest is the base, unless `base` says otherwise
  learning_rates = "2^-9:2^-3"           # LOW:HIGH by factor 2, LOW:HIGH:FACTOR, or a list
  weight_decays = [0.25, 0.5, 1.0]       # coupled: a step decays by lr * wd * w
  recipes = ["mupwd", "fitted(0.8)", "sp"]
  seeds = 3                              # their number, or a list
  steps = 400                            # or tokens_per_parameter = 20
  [hyperparameters]                      # any field of the proxy and its training run
  layers = 4
  decay = "independent"

  A .py file with variables of these names does as well.

a model of your own: --train package.module:train names a function
  train(width, hyperparameters, seed, directory) -> metrics
hyperparameters holds learning_rate and weight_decay (the base's), recipe, base, steps, and your own; metrics holds at
least eval/loss (not finite where the run diverged); directory is a folder for what the trial writes. With --halving
some hyperparameters hold stop_at: end and evaluate there, with the schedule of all steps.
examples/sweep_equinox.py is one.

Stop it whenever you like, even with kill -9: `mupwd sweep DIR` goes on. Start it several times, also on several
machines with one file system, and they share the work; each trial's result is recorded once. A trial that diverges is a
result. One that raises, or whose process is killed, is tried again, recorded with its error, and stops nothing (with
--processes 1, the default with one GPU or a TPU, trials run in the command's own process: what kills that ends it).
Flags for an existing directory change its grid, and what they leave out stays as it is there: both are said, and what
has finished is kept.

on a cluster, whose machines see DIR and the code by the same names: --executor slurm or ray starts --workers workers,
each of which runs trials until none is missing, --processes at a time (default: one per GPU of the worker, else one per
CPU that it asks for); those that vanish are replaced. Killed and started again, the command finds its SLURM jobs. Other
schedulers need only start `mupwd sweep DIR --config FILE --worker` on every machine.

examples:
  mupwd sweep runs/first --widths 32,64,128 --learning_rates 2^-9:2^-3 --weight_decays 2^-4:2^0:4 --steps 400
  mupwd sweep runs/first --status
  mupwd sweep runs/first --extend                  where an optimum lies at an edge, go on beyond it
  mupwd sweep runs/big --config sweep.toml --dry_run
  mupwd sweep runs/mine --train my_project.train:train --widths 256,512,1024 --steps 2000
  mupwd sweep runs/less --halving 3                stop the worse pairs early
  mupwd sweep runs/less --optuna 16                let Optuna choose 16 pairs at each width
  mupwd sweep runs/big --config sweep.toml --executor slurm --workers 16 --resource partition=gpu \\
    --resource gpus_per_node=1 --resource time=240   # minutes
  mupwd sweep runs/big --config sweep.toml --executor ray --workers 8 --resource address=auto --resource num_gpus=1

files in DIR:
  trials/<id>.json, trials/<id>/metrics.jsonl     each result, and its curve
  failed/<id>.json                                errors of trials that failed
  claims/, lost/, workers/                        who runs what; processes that ended in a trial; logs of SLURM jobs
  trials.sqlite                                   all of it as tables, for analysis
  index.html, curves.png, summary.json            the verdict (of a model of your own: summary.json)
  manifest.json, sweep.json, environments/        what was run, on what

exit code: 0: all trials have results; 1: some failed; 2: the command could not be carried out; 130: interrupted.
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "sweep",
        help="run a grid of widths, learning rates, decays and seeds, and judge what transfers",
        description="Runs a grid of trials and says whether the best learning rate and decay move with the width.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("directory", type=Path, metavar="DIR", help="of the sweep; new, or one to go on with")
    what = parser.add_argument_group("the grid")
    what.add_argument("--config", type=Path, metavar="FILE", help="a .toml or .py file; see below")
    what.add_argument("--widths", help="A,B,C (default: 32,64,128)")
    what.add_argument("--learning_rates", metavar="VALUES", help="default: 2^-9:2^-3")
    what.add_argument("--weight_decays", metavar="VALUES", help="default: 2^-4:2^0:4")
    what.add_argument("--recipes", help="separated by commas (default: mupwd,sp)")
    what.add_argument("--seeds", type=int, metavar="N", help="how many (default: 2)")
    what.add_argument("--base", type=int, metavar="N", help="width that is tuned (default: the narrowest)")
    what.add_argument("--steps", type=int, metavar="N", help="of each trial (default: 400)")
    what.add_argument(
        "--tokens_per_parameter",
        type=float,
        metavar="X",
        help="instead of --steps: tokens grow with the model",
    )
    what.add_argument("--train", metavar="NAME", help="package.module:train of a model of your own")
    what.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a hyperparameter, such as layers=4; repeat",
    )
    what.add_argument(
        "--halving",
        type=int,
        metavar="FACTOR",
        help="stop all but the best 1/FACTOR of the pairs early, such as 3 (default: 0, none)",
    )
    what.add_argument(
        "--optuna",
        type=int,
        metavar="N",
        help="let Optuna choose N pairs per recipe and width, between the lowest and highest values, instead of the "
        "grid (extra mupwd[optuna]; default: 0, the grid)",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--dry_run", action="store_true", help="list the trials, estimate the time, run nothing")
    how.add_argument("--status", action="store_true", help="say how far the sweep is, and run nothing")
    how.add_argument(
        "--extend", action="store_true", help="widen the grid where an optimum lies at its edge, and run that"
    )
    how.add_argument("--retries", type=int, default=1, metavar="N", help="of a trial that fails (default: 1)")
    how.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="at the same time (default: one per GPU, if several; one per core of a CPU, at most 8; else 1)",
    )
    how.add_argument(
        "--executor",
        choices=("local", "slurm", "ray"),
        default="local",
        help="where trials run: here, or by workers on a cluster (extras mupwd[slurm], mupwd[ray])",
    )
    how.add_argument(
        "--workers", type=int, metavar="N", help="on the cluster at the same time (default: 4); see below"
    )
    how.add_argument(
        "--resource",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of each worker, such as partition=gpu (an option of sbatch) or num_gpus=1 (Ray); repeat",
    )
    how.add_argument(
        "--worker",
        action="store_true",
        help="only run trials, of the sweep that DIR holds or the flags declare, without a verdict: for launchers",
    )
    how.add_argument("--parquet", action="store_true", help="write trials.parquet as well")


def run(args: argparse.Namespace) -> int:
    """Runs, lists or describes a sweep."""
    need("mupwd sweep", "flax", "matplotlib", "rich")
    if args.parquet:
        need("--parquet", "pyarrow", extra="parquet")
    if sum((args.dry_run, args.status, args.extend, args.worker)) > 1:
        raise ValueError("give only one of --dry_run, --status, --extend and --worker")
    if args.executor == "local":
        for flag, given in (("--workers", args.workers is not None), ("--resource", args.resource)):
            if given:
                raise ValueError(f"{flag} is of clusters: give --executor slurm or ray as well")
    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {args.workers}")
    if args.retries < 0:
        raise ValueError(f"--retries must be at least 0, got {args.retries}")
    from mupwd.commands.sweep_actions import dry_run, notice, only_run, run_and_judge, show_status
    from mupwd.commands.sweep_declared import declared
    from mupwd.sweep.declare import read_sweep

    known = read_sweep(args.directory) if args.directory.is_dir() else None
    if args.status:
        if known is None:
            raise ValueError(f"{args.directory} holds no sweep; give the directory of one")
        return show_status(args.directory, known)
    try:
        # A worker keeps to what the directory holds, and refuses any other grid.
        sweep = declared(args, known, (lambda text: None) if args.worker else notice)
        if args.worker:
            declares = known is not None or args.config is not None or args.widths is not None
            return only_run(args, sweep if declares else None)
        if args.dry_run:
            return dry_run(args, sweep)
        return run_and_judge(args, sweep)
    except KeyboardInterrupt:
        return interrupted("mupwd sweep", args.directory, again(args))
