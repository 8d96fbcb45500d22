"""`mupwd demo`: tune a narrow LLaMA proxy, apply the numbers to a wide one, and see what it costs."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mupwd.proxy.corpus import Corpus
    from mupwd.report.setting import Setting
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
  mupwd demo --quick --out runs/quick               a minute's taste of it; too short for firm verdicts
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
    parser.add_argument("--quick", action="store_true", help="short runs and a small grid")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default: 0)")
    study = parser.add_argument_group("the study")
    study.add_argument("--seeds", type=int, metavar="N", help="near the optima (default: 3; quick: 2)")
    study.add_argument("--widths", default="32,64,128", help="base first, target last (default: 32,64,128)")
    study.add_argument("--recipes", default="mupwd,sp", help="default: mupwd,sp")
    study.add_argument("--learning_rates", metavar="VALUES", help="default: 2^-9:2^-3; quick: 2^-9:2^-4")
    study.add_argument("--weight_decays", metavar="VALUES", help="coupled (default: 2^-6:2^0:4)")
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
    _need("matplotlib", "rich", "flax")
    from rich.console import Console

    from mupwd.report.terminal import print_scorecard
    from mupwd.report.write import write_report
    from mupwd.transfer import scorecard

    console = Console()
    study = _study(args)
    start = time.monotonic()
    processes = _processes(args.processes)
    corpus = _corpus(args, study)
    common = {**study.hyperparameters, "vocab_size": corpus.vocab_size}
    study = dataclasses.replace(study, hyperparameters=common)
    results = _run_study(args, study, corpus, processes, console)
    scores = scorecard(result.observation() for result in results)
    setting = _setting(args, study, corpus, len(results), sum(result.seconds for result in results))
    print_scorecard(console, scores, setting)
    files = write_report(args.out, scores, setting)
    console.print(
        f"\n{len(results)} trials, {(time.monotonic() - start) / 60:.1f} minutes now. Written:", style="dim"
    )
    for file in files:
        console.print(f"  {file}", soft_wrap=True, highlight=False)
    return 0


def _run_study(
    args: argparse.Namespace, study: Study, corpus: Corpus, processes: int, console: Any
) -> list[Any]:
    from rich.console import Console

    from mupwd.proxy.manifest import open_manifest
    from mupwd.proxy.tokens_cache import default_cache_directory
    from mupwd.sweep.drive import run_study
    from mupwd.sweep.local import LocalExecutor
    from mupwd.sweep.progress import SweepProgress
    from mupwd.sweep.proxy_trials import ProxyTrials
    from mupwd.sweep.store import Store

    errors = Console(stderr=True)
    common = {
        "study": "transfer",
        "base": study.base,
        "hyperparameters": dict(study.hyperparameters),
        "corpus": {"source": corpus.source, "sha256": corpus.sha256, "vocab_size": corpus.vocab_size},
    }
    if open_manifest(args.out, common):
        _notice_changes(args.out, errors)
    store = Store(args.out, lambda text: errors.print(f"notice: {text}", soft_wrap=True, highlight=False))
    console.print(_opening(study, corpus, processes), soft_wrap=True, highlight=False)
    runner = ProxyTrials(default_cache_directory() / "jax")
    progress = SweepProgress(errors, study.expected(), processes)
    try:
        with store.lock(), LocalExecutor(runner, processes) as executor, progress:
            return run_study(study, store, executor, progress)
    except KeyboardInterrupt:
        print(
            f"\nmupwd demo: interrupted; {store.count()} finished trials are in {args.out}, the same command goes on",
            file=sys.stderr,
        )
        raise SystemExit(130) from None


def _study(args: argparse.Namespace) -> Study:
    from mupwd.sweep.grid import parse_values
    from mupwd.sweep.study import Study

    if args.seeds is not None and args.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {args.seeds}")
    if args.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {args.seed}")
    steps = (100 if args.quick else 400) if args.steps is None else args.steps
    seeds = args.seeds or (2 if args.quick else 3)
    rates = args.learning_rates or ("2^-9:2^-4" if args.quick else "2^-9:2^-3")
    return Study(
        widths=_integers("--widths", args.widths),
        recipes=_recipes(args.recipes),
        learning_rates=parse_values("--learning_rates", rates),
        weight_decays=parse_values("--weight_decays", args.weight_decays or "2^-6:2^0:4"),
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


def _corpus(args: argparse.Namespace, study: Study) -> Corpus:
    from mupwd.proxy.config import ProxyConfig, TrainConfig
    from mupwd.proxy.corpus import Corpus, corpus

    read = corpus(args.corpus)
    if not isinstance(read, Corpus):
        raise ValueError(f"--corpus {args.corpus}: the study reads its text from memory; give files")
    # What is wrong with the numbers is to be said now, not by the first trial.
    proxy = ProxyConfig(layers=args.layers, vocab_size=read.vocab_size)
    for width in study.widths:
        proxy.heads(width)
    common = study.hyperparameters
    TrainConfig(**{name: common[name] for name in ("steps", "warmup", "batch_size", "sequence_length")})
    return read


def _setting(args: argparse.Namespace, study: Study, corpus: Corpus, trials: int, seconds: float) -> Setting:
    from mupwd.proxy import ProxyConfig, family
    from mupwd.proxy.manifest import read_manifest
    from mupwd.report.setting import Setting

    common = study.hyperparameters
    proxy = family(ProxyConfig(layers=args.layers), base=study.base)
    matrix = {}
    for recipe in study.recipes:
        plan = proxy.plan(study.target, recipe=recipe)
        one = next(parameter for parameter in plan.values() if parameter.role == "matrix")
        matrix[recipe] = (one.lr, one.wd)
    return Setting(
        command=shlex.join(["mupwd", *sys.argv[1:]]),
        model=f"LLaMA proxy, {args.layers} layers, head size {ProxyConfig.head_dim}",
        corpus=corpus.source,
        corpus_sha256=corpus.sha256,
        steps=common["steps"],
        tokens=args.batch_size * args.sequence_length,
        seeds=study.seeds,
        matrix=matrix,
        trials=trials,
        trial_seconds=seconds,
        environment=read_manifest(args.out)["environment"],
    )


def _opening(study: Study, corpus: Corpus, processes: int) -> str:
    common = study.hyperparameters
    tokens = common["batch_size"] * common["sequence_length"]
    return (
        f"Tuning {' and '.join(study.recipes)} at width {study.base}, applying at width {study.target}. Each trial: "
        f"{common['steps']:,} steps of {tokens:,} tokens of {corpus.source} (sha256 {corpus.sha256[:12]}); "
        f"about {sum(study.expected().values())} trials, {processes} at a time."
    )


def _notice_changes(directory: Path, console: Any) -> None:
    """Says what differs between the machine and code that started the directory and the present ones."""
    from mupwd.proxy.manifest import environment, read_manifest

    then, now = read_manifest(directory)["environment"], environment()
    for key in ("python", "versions", "device", "git_revision"):
        if then.get(key) != now[key]:
            console.print(
                f"notice: {directory} was started with another {key.replace('_', ' ')} ({then.get(key)}, now "
                f"{now[key]}); "
                "finished trials are kept",
                soft_wrap=True,
                highlight=False,
            )


def _processes(given: int | None) -> int:
    if given is not None:
        if given < 1:
            raise ValueError(f"--processes must be at least 1, got {given}")
        return given
    import jax

    if jax.default_backend() != "cpu":
        return 1
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)


def _integers(flag: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{flag}: expected whole numbers separated by commas, got {text!r}") from None


def _recipes(text: str) -> tuple[str, ...]:
    from mupwd import recipes

    return tuple(recipes.get(name).name for name in text.split(","))


def _need(*packages: str) -> None:
    import importlib.util

    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ModuleNotFoundError(f"the demo needs {', '.join(missing)}: pip install 'mupwd[proxy]'")
