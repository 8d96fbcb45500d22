"""Results on disk: one file per trial, complete or not there, whatever is killed when."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from mupwd.proxy.disk import write_atomic
from mupwd.sweep.errors import StoreBusyError
from mupwd.sweep.trial import Result, Trial

_DIRECTORY = "trials"
_LOCK = ".lock"


class Store:
    """The results of a sweep: `directory/trials/<id>.json`.

    Args:
      directory: of the sweep; created where it does not exist.
      notify: called with a line of text when a damaged result is set aside.
    """

    def __init__(self, directory: Path, notify: Callable[[str], None]):
        self.directory = directory / _DIRECTORY
        self._notify = notify
        self.directory.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the directory for this process; the system lets go of it when the process ends, however it
        ends.

        Raises:
          StoreBusyError: another process holds it.
        """
        with open(self.directory / _LOCK, "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreBusyError(
                    f"another process is running trials in {self.directory.parent}; wait for it, end it, or give "
                    "another directory"
                ) from None
            # Half-written files of a killed process; nobody else writes while the lock is held.
            for left in self.directory.glob(".*.json.*"):
                left.unlink()
            yield

    def path(self, trial: Trial) -> Path:
        """Returns the file that holds the trial's result."""
        return self.directory / f"{trial.id}.json"

    def count(self) -> int:
        """Returns how many results there are, of whatever study."""
        return sum(1 for _ in self.directory.glob("*.json"))

    def get(self, trial: Trial) -> Result | None:
        """Returns the trial's result, or None where it has none.

        A file that does not hold that result is renamed, so that the trial runs again and nothing is lost.

        Args:
          trial: to look for.
        """
        path = self.path(trial)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            return self._set_aside(path, str(error))
        try:
            result = Result.from_json(json.loads(text))
        except (ValueError, TypeError) as error:
            return self._set_aside(path, str(error))
        if result.trial.id != trial.id:
            return self._set_aside(path, f"it holds the trial {result.trial.id}")
        return result

    def put(self, result: Result) -> None:
        """Records a result.

        Args:
          result: of a trial that has none yet.

        Raises:
          FileExistsError: the trial has a result already.
          OSError: it could not be written; a full disk is said so.
        """
        path = self.path(result.trial)
        if path.exists():
            raise FileExistsError(f"{path} exists already: a finished trial is not run again")
        write_atomic(path, json.dumps(result.as_json(), indent=1, sort_keys=True) + "\n")

    def _set_aside(self, path: Path, why: str) -> None:
        number = 0
        while (aside := path.with_suffix(f".damaged{number}")).exists():
            number += 1
        path.rename(aside)
        self._notify(f"{path.name} is damaged ({why}); set aside as {aside.name}, the trial runs again")
