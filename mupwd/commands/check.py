"""`mupwd check`: does the model at hand keep what the rule promises, at the start and in the steady state?"""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any

from mupwd.commands.shared import integers, interrupted, need

CODES = {"pass": 0, "fail": 1, "undecided": 3}
_RECIPE = "mupwd"
_LONGEST = 60  # characters of a recipe in the name of a directory

_EPILOG = """\
three checks, of mupwd's own LLaMA proxy or of a model of yours:
  mupwd check            coordinates: trains a few steps at each width and looks at what every parameter does to
                         its input, at the start and by its change. Finds wrong learning rates, initial values
                         and forward factors. A wrong weight decay does not show in a few steps.
  mupwd check --steady   the steady state: trains past the decay timescale 1 / (lr * wd) of every matrix and looks
                         whether top singular values and sublayer gains depend on the width. Finds wrong decay
                         rules. It refuses to judge runs that are too short, and says how many steps they need.
  mupwd check --fit      the exponent: measures e in sigma ∝ sqrt(lr / wd) * width^e for each kind of layer, and
                         prints the decay rule width^(2e-1) that this model supports, and the recipe to use.

the verdict, per parameter, from where the 95 % interval of a slope in log width lies:
  pass, fail, or undecided (too wide to tell: it says how many more seeds or widths should do). The exit code is
  0: pass, 1: fail, 3: undecided, 2: the command could not be carried out.

a model of your own:
  package.module:build   build(width), or build(width, seed), as for mupwd plan, which explains --inputs as well
  --loss                 coordinates: package.module:loss, a function loss(outputs, targets)
  --batch                coordinates: package.module:batch, a pair (inputs, targets), or a function batch(seed, step)
                         that returns one
  --train                steady state and exponent: package.module:train, a function
                         train(width, hyperparameters, seed, directory) -> metrics. hyperparameters holds
                         learning_rate and weight_decay (coupled, both the base's), steps, recipe and base; metrics
                         holds, of the last steps, spectral/<path>/sigma_1 for every matrix (mupwd.track_spectrum
                         and mupwd.diagnostics.metrics give them), gain/<sublayer> if gains are to be judged,
                         train/decay_elapsed (the sum of lr_t * weight_decay over the steps, at the base), step,
                         and eval/loss. docs/steady.md has an example.

Trials of --steady and --fit are stored one by one in --out: stop whenever you like, even with kill -9; the same
command goes on where it stopped, and one with more --seeds, or other --widths, adds to what is there.

examples:
  mupwd check
  mupwd check --recipe sp                                   what a failure looks like
  mupwd check --steady --recipe "fitted(0.5)" --out runs/constant    constant decay of the matrices
  mupwd check --fit --widths 48,96,192,384 --out runs/fit
  mupwd check my_project.model:build --base 256 --loss my_project.model:loss --batch my_project.data:batch
  mupwd check my_project.model:build --base 256 --widths 256,512,1024 --steady --train my_project.model:train \\
    --learning_rate 3e-3 --weight_decay 0.5

files in --out:
  coordinates.json, steady.json or exponent.json   every number of the verdict
  a .png of the same name                          its picture
  trials/                                          one JSON file per trial (--steady and --fit)
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "check",
        help="see whether a model keeps what the rule promises: at the start, and in the steady state",
        description="Trains at several widths and says which parameters depend on the width that should not.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("model", nargs="?", metavar="package.module:build", help="default: the LLaMA proxy")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--steady", action="store_true", help="the steady state, instead of coordinates")
    which.add_argument("--fit", action="store_true", help="the exponent of the decay rule")
    parser.add_argument(
        "--recipe", default=_RECIPE, help="mupwd, mup, mup_linear, sp, 'fitted(0.8)', ... (default: mupwd)"
    )
    parser.add_argument(
        "--base", type=int, metavar="N", help="the tuned width (proxy: 32 for coordinates, else 48)"
    )
    parser.add_argument(
        "--widths",
        help="three or more, A,B,C (default: 1, 2 and 4 × base; of the proxy 64,128,256 for coordinates, else "
        "48,64,96,128,192)",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="per width (default: coordinates 4, else 3)")
    parser.add_argument(
        "--learning_rate",
        type=float,
        metavar="X",
        help="the base's (proxy: 2^-10 for coordinates, else 2^-9)",
    )
    parser.add_argument(
        "--weight_decay", type=float, metavar="X", help="the base's, coupled (proxy: 2; coordinates: 0)"
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="coordinates: default 4; else as many as it takes"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="default: runs/check, runs/steady or runs/fit; of a recipe that is given, with its name, as runs/check-sp",
    )
    own = parser.add_argument_group("a model of your own")
    own.add_argument("--inputs", metavar="SPEC", action="append", help="what the model is called with")
    own.add_argument("--loss", metavar="NAME", help="package.module:loss, for coordinates")
    own.add_argument("--batch", metavar="NAME", help="package.module:batch, for coordinates")
    own.add_argument(
        "--form",
        choices=("folded", "forward"),
        help="of the rule for readouts, for coordinates; forward where one is tied, normalised or head_dim grows "
        "(default: folded)",
    )
    own.add_argument("--train", metavar="NAME", help="package.module:train, for --steady and --fit")
    proxy = parser.add_argument_group("the proxy")
    proxy.add_argument(
        "--corpus", metavar="SPEC", help="stdlib (default), a text file or folder, a .bin file"
    )
    proxy.add_argument("--layers", type=int, metavar="N", help="default: 2")
    proxy.add_argument("--batch_size", type=int, metavar="N", help="sequences in a step (default: 8)")
    proxy.add_argument("--sequence_length", type=int, metavar="N", help="default: 32")
    proxy.add_argument(
        "--head_dim", type=int, metavar="N", help="size of a head; widths are multiples (default: 16)"
    )
    proxy.add_argument("--dtype", choices=("float32", "bfloat16"), help="of activations (default: float32)")
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="trials of --steady and --fit at the same time (default: one per core on CPU, at most 8; else 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs a check, prints and writes it."""
    _refuse_what_does_not_fit(args)
    if args.steady or args.fit:
        need("this check", "flax", "matplotlib", "rich")
        from mupwd.commands.check_steady import run_steady

        try:
            return CODES[run_steady(args)]
        except KeyboardInterrupt:
            return interrupted("mupwd check", out_of(args))
    need("this check", "matplotlib", *([] if args.model else ["flax"]))
    from mupwd.commands.check_coordinates import run_coordinates

    return CODES[run_coordinates(args)]


def out_of(args: argparse.Namespace) -> Path:
    """Returns the directory of the flag, or the default one of the check and its recipe: one recipe's verdict does not
    take the place of another's."""
    if args.out:
        return args.out
    kind = "fit" if args.fit else "steady" if args.steady else "check"
    recipe = (
        "" if args.recipe == _RECIPE else "-" + re.sub(r"[^\w.]+", "_", args.recipe).strip("_")[:_LONGEST]
    )
    return Path("runs") / (kind + recipe)


def given(args: argparse.Namespace, *flags: str) -> dict[str, Any]:
    """Returns the values of those flags that were given."""
    return {name: value for name in flags if (value := getattr(args, name)) is not None}


def widths_of(args: argparse.Namespace, default: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the widths of the flag, or the default ones."""
    if args.widths is None:
        return default
    widths = integers("--widths", args.widths)
    if len(set(widths)) < max(3, len(widths)):
        raise ValueError(f"--widths: a slope needs three different widths or more, got {args.widths}")
    return tuple(sorted(widths))


def _refuse_what_does_not_fit(args: argparse.Namespace) -> None:
    """A flag that would be ignored is a misunderstanding."""
    long = args.steady or args.fit
    for flag in ("corpus", "layers", "batch_size", "sequence_length", "head_dim", "dtype"):
        if args.model and getattr(args, flag) is not None:
            raise ValueError(
                f"--{flag} is of the proxy; {args.model} has data and layers of its own; leave it out"
            )
    for flag in ("inputs", "loss", "batch", "form", "train"):
        if not args.model and getattr(args, flag) is not None:
            raise ValueError(f"--{flag} is for a model of your own: give it as package.module:build")
    for flag, wanted in (("loss", not long), ("batch", not long), ("train", long)):
        given = getattr(args, flag) is not None
        kind = "--steady and --fit" if long else "the coordinate check"
        if args.model and wanted and not given:
            raise ValueError(f"--{flag} is needed for {kind} of {args.model}: package.module:{flag}")
        if given and not wanted:
            raise ValueError(f"--{flag} is not for {kind}; leave it out")
    if args.form is not None and long:
        raise ValueError("--form is for the coordinate check; leave it out: no matrix depends on it")
    if args.processes is not None and not long:
        raise ValueError(
            "--processes is for --steady and --fit; the coordinate check runs in this process; leave it out"
        )
    if args.model:
        for flag in ("base", "learning_rate", *(("weight_decay",) if long else ())):
            if getattr(args, flag) is None:
                raise ValueError(f"--{flag} is needed for a model of your own")
    for flag in ("learning_rate", "weight_decay"):
        value = getattr(args, flag)
        zero = flag == "weight_decay" and not long
        if value is not None and not (0 < value < math.inf or (zero and value == 0)):
            least = "0 or more" if zero else "above 0"
            raise ValueError(f"--{flag} must be a finite number, {least}; got {value:g}")
    for flag in ("base", "seeds", "steps"):
        if getattr(args, flag) is not None and getattr(args, flag) < 1:
            raise ValueError(f"--{flag} must be at least 1, got {getattr(args, flag)}")
