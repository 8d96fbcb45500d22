"""Several processes that train one model: how they find each other, and what one of them does for all.

Each runs the same program; process 0 alone reads and writes the files of a run, and tells the others what they hold.
With one process every function here is what it says without any communication.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")


def join(
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    local_devices: int | None = None,
) -> None:
    """Makes this process one of several, by `jax.distributed.initialize`; before anything else is done with JAX.

    Args:
      coordinator: "host:port" of process 0, where a port is free. None: jax finds it, and the next two, under SLURM
        (`srun`), Open MPI, on a TPU pod, and in an indexed Kubernetes job.
      processes: how many there are.
      process_id: of this one, from 0.
      local_devices: GPUs of this process. None: under SLURM and Open MPI jax gives each process one, elsewhere all that
        it sees.

    Raises:
      ValueError: some of the first three are given and not all, or there is no cluster to be found.
      RuntimeError: JAX was used before, or a process did not come within five minutes.
    """
    given = {"coordinator": coordinator, "processes": processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise ValueError(
            f"{' and '.join(missing)} missing: give all of {', '.join(given)}, or none where SLURM, Open MPI, a TPU "
            "pod or Kubernetes started this process"
        )
    try:
        jax.distributed.initialize(
            coordinator_address=coordinator,
            num_processes=processes,
            process_id=process_id,
            local_device_ids=None if local_devices is None else range(local_devices),
        )
    except ValueError as error:
        raise ValueError(
            f"no cluster was found around this process ({error}): start it with srun, mpirun, on a TPU pod or in an "
            "indexed Kubernetes job, or give coordinator, processes and process_id"
        ) from error


def is_first() -> bool:
    """Whether this is the process that reads and writes files: process 0."""
    return jax.process_index() == 0


def from_first(make: Callable[[], T]) -> T:
    """Returns in every process what `make` returns in process 0, where alone it is called; or raises what it raises.

    Args:
      make: returns something that can be pickled.

    Example:
      >>> from_first(lambda: "as without others")
      'as without others'
    """
    if jax.process_count() == 1:
        return make()
    if not is_first():
        value, error = pickle.loads(_broadcast(b""))
        if error is not None:
            raise error
        return value
    try:
        value = make()
    except Exception as error:
        _broadcast(pickle.dumps((None, error)))
        raise
    _broadcast(pickle.dumps((value, None)))
    return value


def check_same(what: str, make: Callable[[], Mapping[str, Any]]) -> None:
    """Raises, in every process, where one has other values than process 0.

    Args:
      what: has the values, for the message.
      make: returns them, as JSON types; not called where there is one process.

    Raises:
      ValueError: they differ; where they do, the message says how.
    """
    if jax.process_count() == 1:
        return
    mine = json.loads(json.dumps(make()))
    first = json.loads(_broadcast(json.dumps(mine).encode()))
    others = np.flatnonzero(multihost_utils.process_allgather(np.int32(mine != first)))
    if others.size:
        here = [
            f"  {name}: {mine.get(name)!r} in process {jax.process_index()}, {first.get(name)!r} in process 0"
            for name in sorted({*mine, *first})
            if mine.get(name) != first.get(name)
        ]
        names = ", ".join(map(str, others))
        raise ValueError("\n".join([f"{what} is not the same in all processes: not in {names}", *here]))


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Ends this process at once where the block raises, so that those that wait for it end as well.

    An interpreter that ends in the usual way first waits, for five minutes, until all processes are done; but these
    wait in turn for what the one that failed was to send.
    """
    try:
        yield
    except BaseException:
        if jax.process_count() == 1:
            raise
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _broadcast(data: bytes) -> bytes:
    """What process 0 gives."""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    # Few lengths, since each is compiled for.
    padded = np.zeros(1 << max(12, (size - 1).bit_length()), np.uint8)
    if is_first():
        padded[:size] = np.frombuffer(data, np.uint8)
    return multihost_utils.broadcast_one_to_all(padded)[:size].tobytes()
