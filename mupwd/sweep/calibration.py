"""What was measured of how trials are best run, kept for the next start on a machine like this."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mupwd.files import read_json
from mupwd.proxy.disk import write_atomic
from mupwd.sweep.runner import Measurement
from mupwd.sweep.trial import Trial

FILE_NAME = "calibration.json"
_STEP = 4  # between the sizes that are tried


class Calibration:
    """The measurements of a sweep's directory, by kind of trial and machine.

    Args:
      directory: of the sweep.
      environment: of this process: what times may depend on.
      processes: that run trials at the same time, and share the machine.
    """

    def __init__(self, directory: Path, environment: Mapping[str, Any], processes: int):
        self._file = directory / FILE_NAME
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        where = {"device": environment["device"], "versions": environment["versions"]}
        self._where = {**where, "processor": _processor(), "cores": cores, "processes": processes}

    def get(self, trial: Trial, most: int) -> Measurement | None:
        """Returns what was measured of trials like this one, where it holds for up to `most` in one program."""
        try:
            found = self._read()[self._key(trial)]
            size, seconds, tried = int(found["size"]), float(found["seconds"]), int(found["most"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        if not (0 < size <= tried and 0 <= seconds < math.inf):
            return None
        # Larger ones were not tried where the best was the largest.
        if size > most or (most > tried and size * _STEP > tried):
            return None
        return Measurement(size, seconds)

    def put(self, trial: Trial, most: int, measured: Measurement) -> None:
        """Keeps a measurement; where that is not possible, it is made again.

        Args:
          trial: that was measured.
          most: that might have run in one program.
          measured: the best way.
        """
        if not math.isfinite(measured.seconds):
            return
        kept = self._read() | {self._key(trial): {**measured._asdict(), "most": most}}
        with contextlib.suppress(OSError):
            write_atomic(self._file, json.dumps(kept, indent=1, sort_keys=True) + "\n")

    def _read(self) -> dict[str, Any]:
        try:
            found = read_json(self._file)
        except (OSError, ValueError):
            return {}  # not there yet, or damaged: measured again, and written anew
        return found if isinstance(found, dict) else {}

    def _key(self, trial: Trial) -> str:
        text = json.dumps([self._where, trial.kind], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def _processor() -> str:
    """The model of the processor: machines of one cluster differ."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
