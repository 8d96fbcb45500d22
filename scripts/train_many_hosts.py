"""One training run of the proxy, at one width, on all devices of several machines: one process per machine.

    pip install 'mupwd[proxy]'        # with the jax build for the accelerator: 'jax[cuda12]', 'jax[tpu]'
    srun --nodes 4 --ntasks-per-node 1 --gpus-per-node 8 \\
        python scripts/train_many_hosts.py --gpus 8 --width 4096 --learning_rate 2^-6 --weight_decay 2^-2 --out /data/a
    scripts/tpu_pod.sh POD ZONE --width 4096 ...                                  # a TPU pod slice
    python scripts/train_many_hosts.py --one_process --width 1024 ...             # one machine with several devices
    python scripts/train_many_hosts.py --coordinator HOST:PORT --processes 2 --process_id 0 ...     # by hand

How the processes find each other is jax's matter under SLURM, Open MPI, on a TPU pod and in an indexed Kubernetes job
(with `pip install 'jax[k8s]'`, and a headless service as the job's subdomain). `--out` is a directory that all machines
share. The learning rate and the decay are those of the base; the plan turns them into this width's. A run that was
stopped or killed goes on from its last checkpoint when the same command is started again, also with other devices.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import jax

from mupwd.commands.shared import pair
from mupwd.proxy import train
from mupwd.proxy.hosts import ending_together, is_first, join
from mupwd.sweep.grid import parse_values


def parse_arguments() -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    what = parser.add_argument_group("the run")
    what.add_argument("--width", type=int, required=True)
    what.add_argument("--learning_rate", required=True, help="the base's, such as 2^-6 or 0.01")
    what.add_argument("--weight_decay", required=True, help="the base's")
    what.add_argument("--seed", type=int, default=0)
    what.add_argument(
        "--sharding", choices=("data", "full"), default="full", help="what devices share (default: full)"
    )
    what.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other hyperparameter, such as base=256, layers=8, batch_size=256 or corpus=data/train.bin; repeat",
    )
    what.add_argument("--checkpoint_every", type=int, default=500, metavar="STEPS")
    what.add_argument("--out", type=Path, required=True, help="directory of the run, which all processes see")
    hosts = parser.add_argument_group("the processes")
    hosts.add_argument("--one_process", action="store_true", help="this one alone, with all devices it sees")
    hosts.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0, where no cluster says it")
    hosts.add_argument("--processes", type=int, metavar="N", help="with --coordinator: how many")
    hosts.add_argument("--process_id", type=int, metavar="I", help="with --coordinator: of this one, from 0")
    hosts.add_argument(
        "--gpus", type=int, metavar="N", help="of each process; under srun and mpirun one, if not given"
    )
    return parser.parse_args()


def main() -> None:
    """Trains as the flags say; what cannot be is told in one line."""
    flags = parse_arguments()
    try:
        values = hyperparameters(flags)
        if not flags.one_process:
            join(flags.coordinator, flags.processes, flags.process_id, flags.gpus)
        with ending_together():
            run(flags, values)
    except ValueError as error:
        sys.exit(f"train_many_hosts.py: {error}")


def hyperparameters(flags: argparse.Namespace) -> dict[str, Any]:
    """Returns what the flags say, as `mupwd.proxy.train` wants it."""
    return {
        "learning_rate": number("--learning_rate", flags.learning_rate),
        "weight_decay": number("--weight_decay", flags.weight_decay),
        "sharding": flags.sharding,
        "checkpoint_every": flags.checkpoint_every,
        **dict(pair("--set", one) for one in flags.set),
    }


def number(flag: str, text: str) -> float:
    """Returns the number that a flag's text is."""
    values = parse_values(flag, text)
    if len(values) != 1:
        raise ValueError(f"{flag}: expected one number, got {text!r}")
    return values[0]


def run(flags: argparse.Namespace, values: dict[str, Any]) -> None:
    """Trains together with the other processes; process 0 prints what is known at the end."""
    if is_first():
        kind = jax.devices()[0].device_kind
        print(f"{jax.process_count()} processes, {jax.device_count()} devices ({kind})", flush=True)
    metrics = train(flags.width, values, flags.seed, flags.out)
    if is_first():
        for name, value in metrics.items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
