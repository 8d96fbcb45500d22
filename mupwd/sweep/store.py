"""Results on disk: one file per trial, complete or not there, whatever is killed when."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mupwd.files import read_json
from mupwd.proxy.disk import write_atomic
from mupwd.sweep.trial import Result, Trial

_SECONDS_OF_A_WRITE = 3600.0  # no file of this size is written for longer
_RESULT = re.compile(r"[0-9a-f]+\.json")


class Store:
    """The results and failures of a sweep, for any number of processes at the same time.

        directory/trials/<id>.json   a result; written once
        directory/trials/<id>/       what the trial itself wrote: its metrics log
        directory/failed/<id>.json   the errors of a trial that failed, one per attempt

    Args:
      directory: of the sweep; created where it does not exist.
      notify: called with a line of text when a damaged file is set aside.
    """

    def __init__(self, directory: Path, notify: Callable[[str], None]):
        self.directory, self._failed = directory / "trials", directory / "failed"
        self._notify = notify
        for folder in (self.directory, self._failed):
            folder.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(folder)

    def path(self, trial: Trial) -> Path:
        """Returns the file that holds the trial's result."""
        return self.directory / f"{trial.id}.json"

    def folder(self, trial: Trial) -> Path:
        """Returns the directory for what the trial itself writes."""
        return self.directory / trial.id

    def results(self) -> Iterator[Result]:
        """Yields all results, of whatever study; damaged ones are set aside."""
        for path in sorted(self._files()):
            result = self._read(path)
            if result is not None:
                yield result

    def refresh(self) -> None:
        """Lets a network file system look for files that it has been told are not there.

        NFS remembers that, for up to a minute; a look into the folder makes it ask the server.
        """
        for folder in (self.directory, self._failed):
            with os.scandir(folder) as entries:
                next(entries, None)

    def get(self, trial: Trial) -> Result | None:
        """Returns the trial's result, or None where it has none.

        A file that does not hold that result is renamed, so that the trial runs again and nothing is lost.

        Args:
          trial: to look for.
        """
        return self._read(self.path(trial))

    def recorded_at(self, trial: Trial) -> float:
        """Returns when a finished trial was recorded, in seconds of the file system's clock."""
        return self.path(trial).stat().st_mtime

    def put(self, result: Result) -> None:
        """Records a result.

        Args:
          result: of a trial that has none yet.

        Raises:
          FileExistsError: the trial has a result already.
          OSError: it could not be written; a full disk is said so.
        """
        path = self.path(result.trial)
        try:
            write_atomic(path, json.dumps(result.as_json(), indent=1, sort_keys=True) + "\n", new=True)
        except FileExistsError:
            raise FileExistsError(f"{path} exists already: a finished trial is not run again") from None

    def failures(self, trial: Trial) -> list[str]:
        """Returns the error of every attempt at a trial that failed.

        Args:
          trial: to look for.
        """
        path = self._failed / f"{trial.id}.json"
        try:
            attempts = read_json(path)["attempts"]
            return [str(one["error"]) for one in attempts]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError) as error:
            self._set_aside(path, f"{type(error).__name__}: {error}")
            return []

    def put_failure(self, trial: Trial, error: str) -> list[str]:
        """Records that an attempt failed; returns the errors of all attempts.

        Args:
          trial: claimed by this process.
          error: a traceback, or what became of the process.

        Raises:
          OSError: it could not be written.
        """
        errors = [*self.failures(trial), error]
        content = {"id": trial.id, **trial.as_json(), "attempts": [{"error": one} for one in errors]}
        write_atomic(self._failed / f"{trial.id}.json", json.dumps(content, indent=1, sort_keys=True) + "\n")
        return errors

    def _files(self) -> Iterator[Path]:
        return (path for path in self.directory.iterdir() if _RESULT.fullmatch(path.name))

    def _read(self, path: Path) -> Result | None:
        try:
            result = Result.from_json(read_json(path))
        except IsADirectoryError as error:
            return self._set_aside(path, str(error.strerror))
        except OSError as error:
            # The latter where another machine set it aside while NFS had it open.
            if error.errno in (errno.ENOENT, errno.ESTALE):
                return None
            raise
        except (ValueError, TypeError, OverflowError) as error:
            return self._set_aside(path, str(error))
        if result.trial.id != path.stem:
            return self._set_aside(path, f"it holds the trial {result.trial.id}")
        return result

    def _set_aside(self, path: Path, why: str) -> None:
        number = 0
        while (aside := path.with_suffix(f".damaged{number}")).exists():
            number += 1
        try:
            path.rename(aside)
        except FileNotFoundError:
            return  # another process was quicker
        self._notify(f"{path.name} is damaged ({why}); set aside as {aside.name}, the trial runs again")


def _remove_leftovers(folder: Path) -> None:
    """Half-written files of processes that were killed."""
    for left in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _SECONDS_OF_A_WRITE:
                left.unlink()
