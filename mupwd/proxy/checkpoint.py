"""Checkpoints of a training state: atomic, the last few kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from mupwd.proxy.disk import explain_full_disk
from mupwd.proxy.hosts import from_first

DIRECTORY_NAME = "checkpoints"


def check_place(directory: Path) -> None:
    """Refuses a directory where checkpoints would be lost.

    Orbax looks for the parts of a checkpoint by a pattern of which the path is a part; brackets in it match other
    names, nothing is found, and what it wrote cannot be restored.

    Raises:
      ValueError: the path has brackets.
    """
    if "[" in str(directory.absolute()):
        raise ValueError(
            f"directory={str(directory)!r} has '[' in its path, where Orbax writes checkpoints that it cannot "
            "read; choose another name, or checkpoint_every=None"
        )


class Checkpoints:
    """Saves and restores a run's state with Orbax.

    A checkpoint appears under its final name only when it is complete, so a kill at any moment leaves the one
    before. Of several processes, which share the directory, each writes what its devices hold; all must make every
    call.

    Args:
      directory: of the run; checkpoints go into its `checkpoints/`.
      keep: how many of the latest stay.

    Raises:
      OSError: the disk is full.
    """

    def __init__(self, directory: Path, keep: int):
        self._path = directory.absolute() / DIRECTORY_NAME
        with explain_full_disk(self._path, "a checkpoint"):
            self._manager = ocp.CheckpointManager(
                self._path,
                # Not in the background: a full disk is then reported at the save that met it, and no buffer
                # that training donates can still be in use by the writer.
                options=ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False),
            )

    def save(self, step: int, state: Any) -> None:
        """Writes the state under its step; a step that is on the disk already is left as it is.

        Raises:
          OSError: the disk is full.
        """
        with explain_full_disk(self._path, "a checkpoint"):
            if self._manager.latest_step() == step:
                return
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, like: Any) -> Any | None:
        """Returns the latest state, or None where there is none.

        Args:
          like: the state's structure with shapes and types (`jax.eval_shape` of what makes it), and with shardings
            where it is to live on several devices, of whatever number it was saved from.

        Raises:
          ValueError: the checkpoint is damaged, or none of this state.
        """
        step = from_first(self._manager.latest_step)
        if step is None:
            return None
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(like))
        except (ValueError, TypeError, KeyError, OSError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ValueError(
                f"{self._path / str(step)}: this checkpoint cannot be read ({reason[:200]}); move it away, and the run "
                "goes on from the one before, or from its start"
            ) from error

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()
