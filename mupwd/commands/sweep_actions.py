"""What `mupwd sweep` does once it knows which sweep: list it, run and judge it, say how far it is."""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mupwd.commands.shared import again, pair
from mupwd.report.measures import print_measures
from mupwd.report.setting import study_setting
from mupwd.report.terminal import PatientConsole, print_scorecard
from mupwd.report.write import write_json, write_report
from mupwd.sweep.claims import Claims
from mupwd.sweep.declare import Sweep
from mupwd.sweep.directory import Cluster, processes_at_a_time
from mupwd.sweep.known import Ran
from mupwd.sweep.progress import duration, median_seconds
from mupwd.sweep.run import Prepared, calibrate, prepare_named, run_sweep
from mupwd.sweep.status import look, status, unknown
from mupwd.sweep.store import Store
from mupwd.sweep.table import PARQUET_NAME, SQLITE_NAME, write_parquet, write_sqlite
from mupwd.sweep.trial import Result
from mupwd.sweep.worker import work
from mupwd.transfer import as_json, extensions, scorecard

_WORKERS = 4
_EXTENSIONS = 4  # of one command; an optimum that runs away further is no matter of the grid


def dry_run(args: argparse.Namespace, sweep: Sweep) -> int:
    """Lists a sweep's trials, and what they will take.

    Args:
      args: of the command.
      sweep: as declared.
    """
    prepared = prepare_named(sweep)
    processes = processes_at_a_time(args.processes)
    store = Store(args.directory, notice) if (args.directory / "trials").is_dir() else None
    study = prepared.sweep.study()
    wanted, results = look(study, store)
    missing = [trial for trial in wanted if trial.id not in results]
    # Of what is complete nothing more is expected.
    more = Counter(unknown(study, wanted) if missing else {})
    measured = calibrate(prepared, processes)
    trials, counts = (Counter(trial.width for trial in some) for some in (wanted, missing))
    console, table = PatientConsole(emoji=False), Table(box=None, padding=(0, 2, 0, 0))
    for column in ("width", "steps", "trials", "of them missing", "seconds each"):
        table.add_column(column, justify="right")
    for width in prepared.sweep.widths:
        seconds = measured[width].seconds
        table.add_row(
            str(width),
            f"{prepared.sweep.given(width)['steps']:,}",
            str(trials[width] + more[width]),
            str(counts[width] + more[width]),
            "unknown" if math.isnan(seconds) else f"{seconds:.1f}",
        )
    for trial in missing:
        console.print(f"{trial.id}  {trial}", highlight=False, soft_wrap=True, markup=False)
    console.print()
    console.print(table)
    whole = {width: float(more[width]) for width in measured}
    for trial in missing:
        whole[trial.width] += trial.share
    total = sum(whole[width] * one.seconds for width, one in measured.items() if whole[width])
    about = "unknown" if math.isnan(total) else f"about {duration(total / processes)}, without compilation"
    later = sum(more.values())
    others = f" now, and about {later} more that their losses will choose" if later else ""
    console.print(
        f"{len(missing)} of {len(wanted)} trials to run{others}, {processes} at a time: {about}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def show_status(directory: Path, sweep: Sweep) -> int:
    """Says how far a sweep is.

    Args:
      directory: that holds it.
      sweep: what it holds.
    """
    found = status(sweep.study(), Store(directory, notice), Claims(directory, notice))
    left = "" if found.seconds_left is None else f"; about {duration(found.seconds_left)} left"
    if found.waiting and not found.running:
        left = f"; nobody works on it: mupwd sweep {directory} goes on"
    later = f" (and about {found.unknown} more, which losses choose)" if found.unknown else ""
    print(
        f"{found.total} trials{later}: {found.finished} finished, {found.diverged} diverged, {found.failed} failed, "
        f"{found.running} running, {found.waiting} waiting{left}"
    )
    return 0


def run_and_judge(args: argparse.Namespace, sweep: Sweep) -> int:
    """Runs what is missing, extends the grid if asked to, prints and writes the verdict.

    Args:
      args: of the command.
      sweep: as declared.
    """
    start = time.monotonic()
    if args.extend and sweep.optuna is not None:
        raise ValueError(
            "--extend widens a grid, and Optuna chooses between ends; give wider --learning_rates or --weight_decays: "
            "it then chooses anew, and trials that it chooses again are not run again"
        )
    console, directory = PatientConsole(emoji=False), args.directory
    prepared = prepare_named(sweep)
    ran = run_sweep(prepared, directory, args.processes, args.retries, console, _cluster(args))
    for _ in range(_EXTENSIONS if args.extend else 0):
        wider = _extended(prepared.sweep, ran.results)
        if wider is None:
            break
        prepared = prepared._replace(sweep=wider)
        ran = run_sweep(prepared, directory, args.processes, args.retries, console, _cluster(args))
    files = [directory / SQLITE_NAME]
    write_sqlite(files[0], ran.results, ran.failed)
    if args.parquet:
        files.append(directory / PARQUET_NAME)
        write_parquet(directory / PARQUET_NAME, ran.results, ran.failed)
    files += _judged(prepared, ran, directory, console, again(args))
    minutes = (time.monotonic() - start) / 60
    diverged = sum(math.isinf(result.loss) for result in ran.results)
    stopped = sum(result.trial.stop_at is not None and math.isfinite(result.loss) for result in ran.results)
    early = f", {stopped} stopped early" if stopped else ""
    console.print(
        f"\n{len(ran.results)} trials have results ({diverged} diverged{early}), {len(ran.failed)} failed; this took "
        f"{minutes:.1f} minutes. Written: {', '.join(map(str, files))}",
        style="dim",
        highlight=False,
        soft_wrap=True,
    )
    for trial, error in ran.failed.items():
        print(
            f"failed: {trial}: {error.strip().splitlines()[-1]} (all of it: {directory}/failed/{trial.id}.json)",
            file=sys.stderr,
        )
    if ran.failed:
        store = Store(directory, notice)
        attempts = max(len(store.failures(trial)) for trial in ran.failed)
        print(f"mended? {again(args)} --retries {attempts} tries them again", file=sys.stderr)
    return 1 if ran.failed else 0


def only_run(args: argparse.Namespace, sweep: Sweep | None) -> int:
    """Runs what is missing of a sweep, as one of many workers that are started alike.

    Args:
      args: of the command.
      sweep: as declared; None: as the directory holds it.
    """
    ran = work(args.directory, args.processes, args.retries, sweep=sweep)
    return 1 if ran.failed else 0


def _cluster(args: argparse.Namespace) -> Cluster | None:
    """What runs the trials elsewhere, if the flags say so."""
    if args.executor == "local":
        return None
    resources = dict(pair("--resource", one) for one in args.resource)
    count = args.workers or _WORKERS
    if args.executor == "slurm":
        from mupwd.sweep.slurm_workers import SlurmWorkers

        return Cluster(SlurmWorkers(args.directory, resources, args.processes, args.retries, notice), count)
    from mupwd.sweep.ray_workers import RayWorkers

    return Cluster(RayWorkers(args.directory, resources, args.processes, args.retries, notice), count)


def _judged(prepared: Prepared, ran: Ran, directory: Path, console: Console, goes_on: str) -> list[Path]:
    """Prints and writes what the results say; returns the files."""
    if not ran.results:
        console.print("\nno verdict: no trial has a result")
        return []
    try:
        scores = scorecard(
            [result.observation() for result in ran.results],
            initial_loss=_initial_loss(prepared.sweep),
            costs=_costs(ran.results),
            grid=prepared.sweep.optuna is None,
        )
    except ValueError as error:
        console.print(f"\nno verdict: {error}", highlight=False, soft_wrap=True, markup=False)
        return []
    setting = None
    if prepared.sweep.train is None:
        command = shlex.join(["mupwd", *sys.argv[1:]])
        setting = study_setting(prepared.sweep, ran.results, directory, command)
    # The files first: the reader of what is printed, such as `head`, may be gone.
    if setting is not None:
        files = write_report(directory, scores, setting)
    else:
        files = [directory / "summary.json"]
        write_json(files[0], {"setting": prepared.sweep.as_json(), "recipes": as_json(scores)})
    print_scorecard(console, scores, setting)
    print_measures(console, scores)
    if len(prepared.sweep.widths) == 1:
        (width,) = prepared.sweep.widths
        console.print(
            f"\nWhether that holds for wider models: {goes_on} --widths {width},{2 * width} runs the same there.",
            highlight=False,
            soft_wrap=True,
        )
    if extensions(result.observation() for result in ran.results):
        beyond = (
            "--extend goes beyond it" if prepared.sweep.optuna is None else "with wider ranges goes beyond it"
        )
        console.print(f"An optimum lies at an edge: {goes_on} {beyond}.", highlight=False, soft_wrap=True)
    return files


def _initial_loss(sweep: Sweep) -> float | None:
    """Of a model that has learnt nothing; unknown of one that is not ours."""
    return math.log(sweep.hyperparameters["vocab_size"]) if sweep.train is None else None


def _costs(results: Sequence[Result]) -> dict[int, float]:
    """Seconds of a trial of each width, as long as the clock can tell."""
    return {width: max(seconds, 1e-3) for width, seconds in median_seconds(results).items()}


def _extended(sweep: Sweep, results: Sequence[Result]) -> Sweep | None:
    """The sweep with values beyond the edges at which optima lie; None where none does."""
    wanted = extensions(result.observation() for result in results).values()
    more = {
        "learning_rates": {value for one in wanted for value in one.get("learning_rate", ())},
        "weight_decays": {value for one in wanted for value in one.get("weight_decay", ())},
    }
    axes = {name: tuple(sorted({*getattr(sweep, name), *values})) for name, values in more.items()}
    if all(len(axes[name]) == len(getattr(sweep, name)) for name in axes):
        return None
    return dataclasses.replace(sweep, **axes)


def notice(text: str) -> None:
    """Says on stderr what should not go unseen.

    Args:
      text: a clause.
    """
    print(f"notice: {text}", file=sys.stderr)
