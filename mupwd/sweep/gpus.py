"""The GPUs of this machine, told apart without starting JAX on them."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

import jax

from mupwd.sweep.errors import SweepError

_SECONDS_OF_A_COMMAND = 30
_ALL_MEMORY = 0.9  # what processes that share a GPU divide among them


class Gpu(NamedTuple):
    """A GPU by the name that CUDA_VISIBLE_DEVICES takes, and its kind as JAX says it."""

    name: str
    kind: str


@functools.cache  # before this process is told to keep to the CPU
def visible_gpus() -> tuple[Gpu, ...]:
    """Returns the NVIDIA GPUs that JAX would use in this environment; none where JAX has no CUDA or is told not to."""
    platforms = jax.config.values["jax_platforms"] or os.environ.get("JAX_PLATFORMS") or ""
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        return ()
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    if not any("cuda" in plugin.name for plugin in plugins) or shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS_OF_A_COMMAND)
    except subprocess.TimeoutExpired:
        raise SweepError(
            f"nvidia-smi did not answer within {_SECONDS_OF_A_COMMAND} s; set CUDA_VISIBLE_DEVICES= to do without GPUs"
        ) from None
    if listed.returncode:
        return ()  # a driver without a GPU: JAX will say so, or take the CPU
    rows = [
        [part.strip() for part in line.split(",", 2)] for line in listed.stdout.splitlines() if line.strip()
    ]
    found = [Gpu(index, kind) for index, _, kind in rows]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return tuple(found)
    kinds = {one.name: one.kind for one in found} | {uuid: kind for _, uuid, kind in rows}
    names: list[str] = []
    for name in filter(None, (part.strip() for part in chosen.split(","))):
        if name not in kinds:
            break  # as CUDA does: what follows an unknown one is not visible
        names.append(name)
    return tuple(Gpu(name, kinds[name]) for name in names)


def gpus_of(processes: int) -> tuple[Gpu, ...]:
    """Returns the GPUs that so many processes divide among them; none where one process has all."""
    return visible_gpus() if processes > 1 else ()


def environment_of(index: int, processes: int, gpus: Sequence[Gpu]) -> dict[str, str]:
    """Returns the variables that give one of several processes its GPU.

    Args:
      index: of the process.
      processes: how many there are; beyond one per GPU they share its memory.
      gpus: to be had.
    """
    if not gpus:
        return {}
    variables = {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)].name}
    sharing = -(-processes // len(gpus))
    if sharing > 1 and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
        variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{_ALL_MEMORY / sharing:.3f}"
    return variables
