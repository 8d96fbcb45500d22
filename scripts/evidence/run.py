"""Runs the evidence: which power of the width should the weight decay of matrices follow?

    pip install 'mupwd[proxy]'
    python scripts/evidence/run.py                       two CPU cores, two to three hours
    python scripts/evidence/run.py --preset gpu          one GPU
    python scripts/evidence/run.py --preset cluster      a cluster; FineWeb-Edu, streamed (extra mupwd[data])
    python scripts/evidence/run.py --only fixed          one of the two horizons, or growing/controls: one sweep
    python scripts/evidence/run.py --dry_run             what would run, and about how long

For each horizon (`fixed`: as many steps at every width; `growing`: as many tokens per parameter) two sweeps:
`rules`, whose one grid serves p = 0, 1/2 and 1 in `wd ∝ m^p`, and `controls`, the standard parametrisation without and
with muP's learning rate of the embedding. At the fixed horizon also `exponent`, which measures the rule that the model
itself supports (`mupwd check --fit`), and a strong decay under that rule and under a planted mistake, p = -1/2.

Stop it whenever you like, also with kill -9: the same command goes on where it was. At the end the results of all
trials are written to docs/evidence/PRESET, where those of sweeps that did not run now stay as they are; of them
`python scripts/evidence/page.py` makes docs/evidence.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from controls_study import controls_study
from presets import PRESETS, Preset
from results import write_results
from rich.console import Console
from rules_study import RulesStudy

from mupwd.recipes import fitted
from mupwd.sweep.directory import processes_at_a_time, run_in_directory
from mupwd.sweep.fixed import Wanted
from mupwd.sweep.run import Prepared, calibrate, prepare
from mupwd.sweep.trial import Result

PLANTED = "fitted(0.25)"  # p = -1/2: what a right rule becomes if the finished update is scaled once more
HORIZONS = ("fixed", "growing")
SWEEPS = ("rules", "controls")
PAGE = Path(__file__).parents[2] / "docs" / "evidence"


def parse_arguments() -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--preset", default="cpu", choices=tuple(PRESETS), help="how much, for which machine (default: cpu)"
    )
    parser.add_argument("--out", type=Path, help="of the trials (default: runs/evidence/PRESET)")
    parser.add_argument("--corpus", help="a text file or folder, or a .bin file (default: the preset's)")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        choices=[name for horizon in HORIZONS for name in (horizon, *(f"{horizon}/{one}" for one in SWEEPS))],
        help="horizons, or sweeps of them (default: everything)",
    )
    parser.add_argument("--processes", type=int, help="trials at the same time")
    parser.add_argument("--dry_run", action="store_true", help="say what would run, and run nothing")
    return parser.parse_args()


def main() -> int:
    """Runs what is missing, and writes the results."""
    args = parse_arguments()
    preset = PRESETS[args.preset]
    if args.corpus:
        preset = preset.on(args.corpus)
    out = args.out or Path("runs/evidence") / preset.name
    console = Console()
    processes = processes_at_a_time(args.processes)
    chosen = [
        (horizon, sweep)
        for horizon in HORIZONS
        for sweep in SWEEPS
        if not args.only or {horizon, f"{horizon}/{sweep}"} & set(args.only)
    ]
    if args.dry_run:
        for horizon, sweep in chosen:
            _forecast(preset, horizon, sweep, processes, console)
        return 0
    try:
        for horizon, sweep in chosen:
            run = _run_rules if sweep == "rules" else _run_controls
            run(preset, horizon, out, processes, console)
    except KeyboardInterrupt:
        print(f"\ninterrupted; the same command goes on from {out}", file=sys.stderr)
        return 130
    files = write_results(preset, out, ["/".join(one) for one in chosen], PAGE / preset.name)
    console.print(f"Written: {', '.join(map(str, files))}. python scripts/evidence/page.py makes the page.")
    return 0


def _run_rules(preset: Preset, horizon: str, out: Path, processes: int, console: Console) -> None:
    folder = out / horizon / "rules"
    rules = prepare(preset.rules(horizon))
    _in_directory(RulesStudy(rules.sweep, preset.strong_decay), rules, folder, processes, console)
    if horizon == "fixed":
        others = (fitted(_exponents(preset, out / "exponent", processes)).name, PLANTED)
        more = RulesStudy(rules.sweep, preset.strong_decay, others)
        _in_directory(more, rules, folder, processes, console)


def _run_controls(preset: Preset, horizon: str, out: Path, processes: int, console: Console) -> None:
    controls = prepare(preset.controls(horizon))
    folder = out / horizon / "controls"
    _in_directory(controls_study(controls.sweep), controls, folder, processes, console)


def _in_directory(
    study: Wanted, prepared: Prepared, directory: Path, processes: int, console: Console
) -> Sequence[Result]:
    expected = study.expected()
    opening = (
        f"{directory}: about {sum(expected.values())} trials of {prepared.about}, {', '.join(study.recipes)} "
        f"at widths {', '.join(map(str, expected))}"
    )
    return run_in_directory(
        study, directory, prepared.runner, prepared.decided, opening, processes, console
    ).complete()


def _exponents(preset: Preset, out: Path, processes: int) -> dict[str, float]:
    """Measures which decay the model supports, by the command that its users have."""
    given = preset.hyperparameters
    flags = {
        "base": preset.base,
        "widths": ",".join(map(str, preset.horizons["fixed"].widths)),
        "learning_rate": preset.exponent[0],
        "weight_decay": preset.exponent[1],
        "seeds": preset.seeds,
        "processes": processes,
        "out": out,
        **{
            name: given[name]
            for name in ("corpus", "layers", "batch_size", "sequence_length", "head_dim", "dtype")
            if name in given
        },
    }
    command = [sys.executable, "-m", "mupwd.commands.main", "check", "--fit"]
    command += [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    print(" ".join(command[1:]))
    # 1: a verdict of "fail" is a finding as well; 3: so is "undecided".
    if subprocess.run(command).returncode not in (0, 1, 3):
        raise SystemExit(f"mupwd check --fit could not be carried out; see above. Its trials are in {out}")
    found = json.loads((out / "exponent.json").read_text(encoding="utf-8"))["fitted"]
    if not found:
        raise SystemExit(f"mupwd check --fit found no exponent; see {out}/exponent.json")
    # Two digits are what the intervals allow.
    return {pattern: round(value, 2) for pattern, value in found.items()}


def _forecast(preset: Preset, horizon: str, sweep: str, processes: int, console: Console) -> None:
    study: Wanted
    if sweep == "rules":
        prepared = prepare(preset.rules(horizon))
        study = RulesStudy(prepared.sweep, preset.strong_decay)
    else:
        prepared = prepare(preset.controls(horizon))
        study = controls_study(prepared.sweep)
    measured = calibrate(prepared, processes)
    expected = study.expected()
    seconds = sum(count * measured[width].seconds for width, count in expected.items()) / processes
    trials = ", ".join(f"{count} at width {width}" for width, count in expected.items())
    console.print(
        f"{horizon}/{sweep}: about {trials}; {processes} at a time, {seconds / 60:.0f} minutes at most",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())
