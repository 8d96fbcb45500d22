"""Workers as SLURM jobs."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mupwd.sweep.errors import SweepError
from mupwd.sweep.worker import work

_SECONDS_OF_A_COMMAND = 60


class SlurmWorkers:
    """Submits workers by submitit, and knows them by the name of their jobs; a driver that starts later finds them.

    What became of a job is told by `squeue`: one that is no longer listed has ended, with or without accounting.

    Args:
      directory: of the sweep, on a file system that all nodes see.
      resources: of each job, by the names that sbatch gives its options: "partition", "time" (minutes),
        "cpus_per_task", "gpus_per_node", "mem", "account", ...
      processes: that run trials in each job at the same time; by default one per GPU, else one per CPU of
        the job.
      retries: how often a trial that fails is tried again.
      notify: is told when SLURM does not answer.

    Raises:
      ValueError: a resource may not be set.
      ModuleNotFoundError: submitit is missing.
      SweepError: there is no SLURM here.
    """

    def __init__(
        self,
        directory: Path,
        resources: Mapping[str, Any],
        processes: int | None,
        retries: int,
        notify: Callable[[str], None],
    ):
        try:
            from submitit.slurm import slurm
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"the slurm executor needs {error.name}: pip install 'mupwd[slurm]'"
            ) from error
        self._directory, self._folder = directory.resolve(), directory.resolve() / "workers"
        processes = processes or _of_a_job(resources)
        self.at_a_time = processes or 1
        self._arguments = (processes, retries, Path.cwd())
        self._notify = notify
        self._name = f"mupwd-{hashlib.sha256(str(self._directory).encode()).hexdigest()[:10]}"
        self._living: dict[str, str] = {}
        try:
            self._executor = slurm.SlurmExecutor(folder=self._folder)
        except RuntimeError as error:
            raise SweepError(
                "there is no SLURM on this machine (srun is not found); start the command where sbatch works"
            ) from error
        if "job_name" in resources:
            raise ValueError(
                "--resource job_name: the sweep's jobs are known by a name of its own; leave it out"
            )
        known = slurm._get_default_parameters()
        more = {name: value for name, value in resources.items() if name not in known}
        # submitit's own limit would be five minutes; without one, the partition's holds.
        given = {"time": None, **{name: value for name, value in resources.items() if name in known}}
        self._executor.update_parameters(**given, job_name=self._name, additional_parameters=more)

    def start(self) -> str:
        """Submits a job; returns its number.

        Raises:
          SweepError: SLURM refuses it.
        """
        try:
            job = self._executor.submit(work, self._directory, *self._arguments)
        except Exception as error:  # submitit has several kinds, and passes on what sbatch says
            raise SweepError(
                f"SLURM takes no job: {error}. What --resource gives is passed on to sbatch; mend it there"
            ) from error
        self._living[job.job_id] = "PENDING"
        return job.job_id

    def living(self) -> Mapping[str, str]:
        """Returns `{job: its state in SLURM's words}`."""
        try:
            listed = _run(
                "squeue", "--noheader", f"--name={self._name}", f"--user={_user()}", "--format=%A %T"
            )
        except (OSError, subprocess.SubprocessError) as error:
            # A controller that restarts says nothing of jobs: those known before are taken to live.
            self._notify(f"squeue does not answer ({_said(error)}); asking again")
            return self._living
        self._living = dict(line.split() for line in listed.splitlines() if line.strip())
        return self._living

    def last_words(self, worker: str) -> str:
        """Returns a job's last state, the last line of its log, and where that is."""
        log = self._folder / f"{worker}_0_log.err"
        words = [f"log: {log}"]
        try:
            text = log.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            words = ["it left no log"]
        else:
            words = [*text.splitlines()[-1:], *words]
        try:
            state = re.search(r"\bJobState=(\w+)", _run("scontrol", "--oneliner", "show", "job", worker))
        except (OSError, subprocess.SubprocessError):
            state = None  # SLURM forgets jobs after some minutes
        return "; ".join([*([state[1]] if state else []), *words])

    def stop(self) -> None:
        """Cancels all jobs of the sweep."""
        try:
            _run("scancel", f"--name={self._name}", f"--user={_user()}")
        except (OSError, subprocess.SubprocessError) as error:
            self._notify(f"could not cancel the jobs ({_said(error)}): scancel --name={self._name}")


def _of_a_job(resources: Mapping[str, Any]) -> int | None:
    """How many trials run in a job at a time; None: as many as it finds GPUs."""
    if any("gpu" in f"{name}={value}" for name, value in resources.items() if value):
        return None
    return int(resources.get("cpus_per_task") or 1)


def _run(*command: str) -> str:
    # Variables by which people filter what the commands show would hide our jobs.
    shown = {
        name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SCANCEL_"))
    }
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=_SECONDS_OF_A_COMMAND, env=shown
    ).stdout


def _said(error: Exception) -> str:
    return (getattr(error, "stderr", None) or str(error)).strip()


def _user() -> str:
    # As SLURM knows us, whatever the environment says.
    return str(os.getuid())
