"""The files of a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mupwd.proxy.disk import write_atomic, written_aside
from mupwd.report.collect import collect_directory
from mupwd.report.figure import write_figure
from mupwd.report.page import page
from mupwd.report.setting import Setting
from mupwd.transfer import RecipeScore, as_json


def write_report(directory: Path, scores: Mapping[str, RecipeScore], setting: Setting) -> list[Path]:
    """Writes summary.json, curves.png and index.html and returns their paths.

    Args:
      directory: of the trials, where to; it exists.
      scores: what `mupwd.transfer.scorecard` returns.
      setting: how the trials were run.

    Raises:
      OSError: a file could not be written; a full disk is said so.
    """
    files = [directory / name for name in ("index.html", "curves.png", "summary.json")]
    group = collect_directory(directory)
    group.scores, group.setting = scores, setting
    write_atomic(files[0], page([group]))
    title = f"{setting.model}, {setting.steps:,} steps of {setting.tokens:,} tokens"
    with written_aside(files[1]) as drawn:
        write_figure(drawn, scores, title, setting.decay)
    summary = {"setting": setting.as_json(), "recipes": as_json(scores)}
    write_json(files[2], summary)
    return files


def write_json(file: Path, content: object) -> None:
    """Writes plain numbers, strings, lists and dicts; numbers that are not finite become strings.

    Args:
      file: where to.
      content: what.

    Raises:
      OSError: the file could not be written; a full disk is said so.
    """
    write_atomic(file, json.dumps(_finite(content), indent=1) + "\n")


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity: they become strings."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and value - value != 0:
        return str(value)
    return value
