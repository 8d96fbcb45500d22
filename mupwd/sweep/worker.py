"""A worker: runs what is missing of the sweep in a directory, and leaves the verdict to others."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from mupwd.sweep.declare import Sweep, read_sweep
from mupwd.sweep.interrupts import Interrupts
from mupwd.sweep.known import Ran
from mupwd.sweep.run import prepare_named, run_sweep


def work(
    directory: Path,
    processes: int | None = None,
    retries: int = 1,
    where: Path | None = None,
    sweep: Sweep | None = None,
) -> Ran:
    """Runs trials until none is missing: what the workers of a cluster do, any number of them at a time.

    Nobody watches it, so a trial that ends every process that runs it counts as failed after a while.

    Args:
      directory: of the sweep; all workers see the same one.
      processes: that run trials at the same time, as for `run_sweep`.
      retries: how often a trial that fails is tried again.
      where: to go first: the folder in which a train function of one's own is found.
      sweep: as declared; None: as the directory has it.

    Raises:
      KeyboardInterrupt: a friendly signal came; claims are given up.
      ValueError: the directory holds no sweep, or another one; or its train function is not there.
      OSError: a result could not be written.
    """
    if where is not None:
        os.chdir(where)
    # From the start: whoever started this may ignore signals, as submitit does, and a job that is cancelled while it
    # prepares would then run until it is killed, with a claim.
    with Interrupts() as interrupts:
        known = read_sweep(directory)
        sweep = sweep or known
        if sweep is None:
            raise ValueError(
                f"{directory} holds no sweep on this machine; workers need the file system of the one that "
                "declared it"
            )
        prepared = prepare_named(sweep)
        if known is not None and known != prepared.sweep:
            raise ValueError(
                f"{directory} holds another grid than the one declared for this worker; start `mupwd sweep` without "
                "--worker to change it, and workers without flags of the grid"
            )
        interrupts.check()
        return run_sweep(prepared, directory, processes, retries, Console(stderr=True), unattended=True)
