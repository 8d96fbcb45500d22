"""`mupwd check --steady` and `--fit`: long trials, stored one by one, and what they say."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mupwd.commands.check import given, out_of, widths_of
from mupwd.commands.models import family_of
from mupwd.family import Family
from mupwd.plan import Plan
from mupwd.report.steady_figure import write_exponent_figure, write_steady_figure
from mupwd.report.write import write_json
from mupwd.sweep.directory import processes_at_a_time, run_in_directory
from mupwd.sweep.fixed import FixedStudy
from mupwd.sweep.proxy_study import checked_corpus, proxy_trials
from mupwd.sweep.run import train_function
from mupwd.sweep.runner import OneByOne, Runner
from mupwd.sweep.trial import Result, Trial
from mupwd.transfer.exponent import ExponentFit, StarPoint, exponent_from_runs, star
from mupwd.transfer.steady import SteadyCheck, judge_steady_state
from mupwd.transfer.steady_state import SteadyRun, steps_needed
from mupwd.transfer.steady_trials import check_widths, steady_plans

_WARMUP = 20
# Of the proxy: matrices of size about 1 in a steady state after some 1,500 steps, at widths from which on the first
# layer's gains no longer depend on the width; see docs/steady.md.
_BASE, _WIDTHS = 48, (48, 64, 96, 128, 192)
_LEARNING_RATE, _WEIGHT_DECAY = 2**-9, 2.0
_PROXY = {
    "layers": 2,
    "batch_size": 8,
    "sequence_length": 32,
    "eval_batches": 8,
    "schedule": "wsd",
    "decay_fraction": 0.0,
    "final_fraction": 1.0,
    "warmup": _WARMUP,
    "log_every": 50,
}
_OBSERVATIONS = 40


class _Model(NamedTuple):
    """What is checked: its family, what runs its trials, and what decides their numbers besides the flags."""

    family: Family
    runner: Runner
    hyperparameters: dict[str, Any]
    identity: dict[str, Any]


def run_steady(args: argparse.Namespace) -> str:
    """Runs the trials that are missing, prints, writes, and returns the verdict."""
    start = time.monotonic()
    base = args.base or _BASE
    widths = widths_of(args, _WIDTHS if args.base is None else (base, 2 * base, 4 * base))
    seeds = tuple(range(args.seeds or 3))
    check_widths(widths, seeds)
    model = _own(args) if args.model else _proxy(args, base, widths)
    plans = steady_plans(model.family, widths, args.recipe)
    rate = _LEARNING_RATE if args.learning_rate is None else args.learning_rate
    decay = _WEIGHT_DECAY if args.weight_decay is None else args.weight_decay
    points = star(widths, rate, decay) if args.fit else [StarPoint(width, rate, decay) for width in widths]
    steps = args.steps or max(
        steps_needed([plans[width]], one, other, _WARMUP) for width, one, other in points
    )
    common = {**model.hyperparameters, "steps": steps, "recipe": args.recipe, "base": base}
    if not args.model:
        common["observe_every"] = max(1, steps // _OBSERVATIONS)
        checked_corpus(common, widths)  # before the first trial
    trials = [
        Trial(width, {**common, "learning_rate": one, "weight_decay": other}, seed)
        for width, one, other in points
        for seed in seeds
    ]
    out = out_of(args)
    processes = processes_at_a_time(args.processes)
    decided = {"study": "check", **model.identity}
    opening = _opening(args, common, points, seeds, processes)
    ran = run_in_directory(FixedStudy(tuple(trials)), out, model.runner, decided, opening, processes)
    results = ran.complete()
    files, verdict = _judged(
        args.fit, _runs(results), plans, out, {**common, "widths": widths, "seeds": seeds}
    )
    minutes = (time.monotonic() - start) / 60
    print(f"\n{len(results)} trials; this took {minutes:.1f} minutes. Written: {', '.join(map(str, files))}")
    return verdict


def _judged(
    fit: bool, runs: Sequence[SteadyRun], plans: dict[int, Plan], out: Path, setting: dict[str, Any]
) -> tuple[list[Path], str]:
    """Prints and writes what the trials say; returns the files and the verdict."""
    found: ExponentFit | SteadyCheck = (
        exponent_from_runs(runs, plans) if fit else judge_steady_state(runs, plans)
    )
    files = [out / f"{'exponent' if fit else 'steady'}.{kind}" for kind in ("json", "png")]
    write_json(files[0], {"setting": setting, "verdict": found.verdict, **_as_json(found)})
    if isinstance(found, SteadyCheck):
        write_steady_figure(files[1], found)
    else:
        write_exponent_figure(files[1], found)
    print(f"\n{found}")  # last: its reader may be gone
    return files, found.verdict


def _as_json(found: ExponentFit | SteadyCheck) -> dict[str, Any]:
    if isinstance(found, SteadyCheck):
        lines = [{**dataclasses.asdict(line), "implied_decay": line.implied_decay} for line in found.lines]
        return {**dataclasses.asdict(found), "lines": lines}
    modules = [
        {
            "name": one.name,
            "learning_rate": one.free and dataclasses.asdict(one.free.exponents["learning_rate"]),
            "weight_decay": one.free and dataclasses.asdict(one.free.exponents["weight_decay"]),
            "theory_holds": one.theory_holds,
            "e": one.e and dataclasses.asdict(one.e),
            "decay": one.decay and dataclasses.asdict(one.decay),
            "supports": one.supports,
            "note": one.note,
        }
        for one in found.modules
    ]
    return {
        "modules": modules,
        "fitted": found.exponents,
        "steps": dict(found.steps),
        "diverged": found.diverged,
    }


def _runs(results: Iterable[Result]) -> list[SteadyRun]:
    return [
        SteadyRun(
            one.trial.width,
            one.trial.hyperparameters["learning_rate"],
            one.trial.hyperparameters["weight_decay"],
            one.trial.seed,
            one.metrics,
        )
        for one in results
    ]


def _proxy(args: argparse.Namespace, base: int, widths: Sequence[int]) -> _Model:
    from mupwd.proxy import ProxyConfig, corpus, family

    # Head size and dtype only if they are asked for: stored trials are known by all their hyperparameters.
    asked = given(args, "layers", "batch_size", "sequence_length", "head_dim", "dtype")
    text = corpus(args.corpus or "stdlib")
    shape = {name: asked[name] for name in ("layers", "head_dim", "dtype") if name in asked}
    config = ProxyConfig(vocab_size=text.vocab_size, **{"layers": _PROXY["layers"], **shape})
    for width in widths:
        config.heads(width)
    hyperparameters = {**_PROXY, **asked, "corpus": args.corpus or "stdlib", "vocab_size": text.vocab_size}
    return _Model(
        family(config, base),
        proxy_trials(),
        hyperparameters,
        {"model": "proxy", "corpus": {"source": text.source, "sha256": text.sha256}},
    )


def _own(args: argparse.Namespace) -> _Model:
    train = train_function(args.train)
    family = family_of(args.model, args.inputs, args.base)
    return _Model(family, OneByOne(train), {}, {"model": args.model, "train": args.train})


def _opening(
    args: argparse.Namespace,
    common: dict[str, Any],
    points: Sequence[StarPoint],
    seeds: Sequence[int],
    processes: int,
) -> str:
    what = "exponent" if args.fit else "steady state"
    widths = ", ".join(map(str, sorted({point.width for point in points})))
    return (
        f"{what} of {args.model or 'the proxy'} under recipe {args.recipe} at widths {widths}: {len(points)} points × "
        f"{len(seeds)} seeds, {common['steps']:,} steps each; at the base learning rate {points[0].learning_rate:g} "
        f"and weight decay {points[0].weight_decay:g}; {processes} at a time."
    )
