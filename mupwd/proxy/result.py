"""The result of a finished run, in its directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mupwd.files import read_json
from mupwd.proxy.disk import write_atomic
from mupwd.proxy.metrics_log import decode, encode

RESULT_NAME = "result.json"


def write_result(directory: Path, result: dict[str, Any]) -> None:
    """Writes what `Trainer.run` returns; its presence says that the run is over.

    Raises:
      OSError: the disk is full.
    """
    text = {name: value if isinstance(value, str) else encode(value) for name, value in result.items()}
    write_atomic(directory / RESULT_NAME, json.dumps(text, indent=2, allow_nan=False) + "\n")


def read_result(directory: Path) -> dict[str, Any] | None:
    """Returns the result, or None where the run is not over.

    Raises:
      ValueError: the file is damaged.
    """
    path = directory / RESULT_NAME
    if not path.exists():
        return None
    try:
        result = read_json(path)
        return {name: value if name == "status" else decode(value) for name, value in result.items()}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not the result of a run ({error}); remove it to run again") from error
