"""Milliseconds that a sweep spends on a trial besides running it, against Ray Tune and Optuna.

Every trial returns at once, so the time from the first trial's start to the last one's, over the trials between, is
what claiming, handing out and recording one costs when all is warm: imports and the start of processes fall before the
first. Each contestant records every result on disk in its own way: mupwd one file per trial, Ray Tune its experiment
folder (its actors are used again), Optuna a journal file.

    python benchmarks/dispatch.py
    python benchmarks/dispatch.py --trials 500

Ray Tune (`pip install 'ray[tune]'`) and Optuna take part where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from absl import app
from absl.flags import argparse_flags

# Each prints nothing; the train function appends the time at which a trial starts to a file.
TRAIN = """
import os, time

def train(width, hyperparameters, seed, directory):
    with open(os.environ["STARTED"], "a") as file:
        file.write(f"{time.time()}\\n")
    return {"eval/loss": hyperparameters["learning_rate"]}
"""

MUPWD = """
import sys
from pathlib import Path
from rich.console import Console
import at_once
from mupwd.sweep.declare import Sweep
from mupwd.sweep.run import prepare, run_sweep

if __name__ == "__main__":
    count, processes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    rates = tuple(2.0**-k for k in range(1, 11))
    sweep = Sweep((32,), rates, (0.1,), seeds=tuple(range(count // 10)), steps=1, train="at_once:train")
    run_sweep(prepare(sweep, at_once.train), folder, processes, console=Console(quiet=True))
"""

TUNE = """
import logging, os, sys
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
import ray
from ray import tune
from at_once import train

def trainable(config):
    return train(32, config, config["seed"], None)

if __name__ == "__main__":
    count, processes, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    ray.init(num_cpus=processes, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    space = {
        "learning_rate": tune.grid_search([2.0**-k for k in range(1, 11)]),
        "seed": tune.grid_search(list(range(count // 10))),
    }
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()
"""

OPTUNA = """
import sys
import optuna
from at_once import train

if __name__ == "__main__":
    count, processes, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    backend = optuna.storages.journal.JournalFileBackend(f"{folder}/journal")
    grid = {"learning_rate": [2.0**-k for k in range(1, 11)], "seed": list(range(count // 10))}
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend), sampler=optuna.samplers.GridSampler(grid)
    )

    def objective(trial):
        values = {"learning_rate": trial.suggest_float("learning_rate", 0.0, 1.0)}
        return train(32, values, trial.suggest_int("seed", 0, count), None)["eval/loss"]

    study.optimize(objective, n_trials=count)
"""


def main(flags: argparse.Namespace) -> None:
    """Runs each contestant once per turn, in turns, and prints the medians."""
    contestants = [("mupwd sweep", MUPWD, 1), ("mupwd sweep", MUPWD, 2)]
    if importlib.util.find_spec("optuna"):
        contestants.append(("Optuna, grid, journal file", OPTUNA, 1))
    if importlib.util.find_spec("ray") and importlib.util.find_spec("pandas"):
        contestants.append(("Ray Tune, grid", TUNE, 2))
    times: dict[tuple[str, int], list[float]] = {(name, processes): [] for name, _, processes in contestants}
    for turn in range(flags.turns):
        for name, program, processes in contestants:
            milliseconds = _milliseconds(program, flags.trials, processes)
            times[name, processes].append(milliseconds)
            print(f"turn {turn}: {name}, {processes} at a time: {milliseconds:.1f} ms", file=sys.stderr)
    ours = {processes: sorted(found)[len(found) // 2] for (_, processes), found in list(times.items())[:2]}
    print(f"{flags.trials} trials that return at once, median of {flags.turns} turns")
    for (name, processes), found in times.items():
        median = sorted(found)[len(found) // 2]
        print(
            f"{name:28} {processes} at a time {median:8.1f} ms per trial {median / ours[processes]:7.1f} × mupwd's"
        )


def _milliseconds(program: str, trials: int, processes: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "at_once.py").write_text(TRAIN)
        (folder / "contestant.py").write_text(program)
        (folder / "out").mkdir()
        environment = os.environ | {
            "STARTED": str(folder / "started"),
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": name,
        }
        done = subprocess.run(
            [sys.executable, "contestant.py", str(trials), str(processes), str(folder / "out")],
            cwd=folder,
            env=environment,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"a contestant ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
        started = sorted(float(line) for line in (folder / "started").read_text().split())
        if len(started) != trials:
            raise RuntimeError(f"{len(started)} trials ran, not {trials}")
        return 1000 * (started[-1] - started[0]) / (trials - 1)


def _flags(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse_flags.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--trials", type=int, default=200, help="a multiple of 10")
    parser.add_argument("--turns", type=int, default=3)
    return parser.parse_args(argv[1:])


if __name__ == "__main__":
    app.run(main, flags_parser=_flags)
