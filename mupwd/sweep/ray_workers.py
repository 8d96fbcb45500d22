"""Workers as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mupwd.sweep.errors import SweepError
from mupwd.sweep.worker import work

_SECONDS_OF_A_KNOCK = 10.0
_OPTIONS = ("num_cpus", "num_gpus", "memory")


class RayWorkers:
    """Starts workers as tasks of Ray core, which places them where their resources are free.

    They end with the driver; started again, it goes on.

    Args:
      directory: of the sweep, on a file system that all nodes see, under the same name.
      resources: "address" of the cluster ("auto", "host:6379"; by default the one that RAY_ADDRESS names, else one that
        runs on this machine, else a new one); of each worker "num_cpus", "num_gpus", "memory" (bytes), and any custom
        resource of the cluster.
      processes: that run trials in each worker at the same time; by default one per GPU, else one per CPU of it.
      retries: how often a trial that fails is tried again.
      notify: is told what the cluster lacks.

    Raises:
      ModuleNotFoundError: Ray is missing.
      SweepError: the cluster cannot be reached.
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
            import ray
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"the ray executor needs {error.name}: pip install 'mupwd[ray]'"
            ) from error
        self._ray = ray
        given = dict(resources)
        address = given.pop("address", None)
        try:
            _knock(address)
            # Workers' lines go to Ray's own logs: the driver has a progress bar.
            ray.init(
                address,
                log_to_driver=False,
                include_dashboard=False,
                logging_level=logging.ERROR,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise SweepError(
                f"cannot reach the Ray cluster {address or ''}: {error}. Give its address as --resource "
                "address=HOST:PORT, or none for one of this machine"
            ) from error
        options = {name: given.pop(name) for name in _OPTIONS if name in given}
        wanted = {"CPU": options.get("num_cpus", 1), "GPU": options.get("num_gpus", 0), **given}
        there = ray.cluster_resources()
        for name, amount in wanted.items():
            if amount > there.get(name, 0):
                notify(
                    f"a worker needs {amount:g} {name} and the Ray cluster has {there.get(name, 0):g} now: nothing "
                    "runs until it grows"
                )
        # Ray's own retries would hide from us that a worker ended.
        self._task = ray.remote(_work).options(**options, resources=given or None, max_retries=0)
        self.at_a_time = processes or int(options.get("num_gpus") or options.get("num_cpus") or 1) or 1
        self._arguments = (directory.resolve(), self.at_a_time, retries, Path.cwd())
        self._workers: dict[str, Any] = {}

    def start(self) -> str:
        """Submits a task; returns its number."""
        name = str(len(self._workers))
        self._workers[name] = self._task.remote(*self._arguments)
        return name

    def living(self) -> Mapping[str, str]:
        """Returns `{task: "started"}` of those that have not ended."""
        refs = list(self._workers.values())
        ended = set(self._ray.wait(refs, num_returns=len(refs), timeout=0)[0]) if refs else set()
        return {name: "started" for name, ref in self._workers.items() if ref not in ended}

    def last_words(self, worker: str) -> str:
        """Returns the error of a task that ended."""
        try:
            self._ray.get(self._workers[worker])
        except Exception as error:  # of the task: whatever it raised, or that its process was killed
            return " ".join(str(error).split())[:500]
        return "without an error"

    def stop(self) -> None:
        """Interrupts all tasks, so that they give up their claims, and leaves the cluster."""
        for ref in self._workers.values():
            self._ray.cancel(ref)
        self._ray.wait(list(self._workers.values()), num_returns=len(self._workers), timeout=10)
        self._ray.shutdown()


def _knock(address: str | None) -> None:
    """Raises OSError where nobody answers at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_SECONDS_OF_A_KNOCK).close()


def _work(directory: Path, processes: int, retries: int, where: Path) -> None:
    work(directory, processes, retries, where)
