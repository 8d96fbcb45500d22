"""The last panel: everything that is needed to repeat the runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mupwd.report.runs import Group, as_mapping
from mupwd.report.setting import Setting

_RUNS = 200  # rows of a table that a person reads


def manifest_rows(group: Group, setting: Setting | None) -> dict[str, Any]:
    """Returns what a group's runs were given and ran on.

    Args:
      group: with its runs.
      setting: as far as it is known.
    """
    rows: dict[str, Any] = {}
    if setting is not None:
        rows = {
            "command": setting.command,
            "model": setting.model,
            "text": f"{setting.corpus}, sha256 {setting.corpus_sha256}",
            "length": f"{setting.steps:,} steps of {setting.tokens:,} tokens",
            "trials": f"{setting.trials}, seeds {', '.join(map(str, setting.seeds))}; "
            f"{setting.trial_seconds / 60:.1f} minutes of trials",
        }
    environment = group.manifest.get("environment") or (setting.environment if setting else {})
    if isinstance(environment, Mapping):
        rows |= {str(key).replace("_", " "): _plain(value) for key, value in environment.items()}
    common = _common([run.hyperparameters for run in group.runs])
    for name, value in common.items():
        rows.setdefault(name, _plain(value))
    runs = [
        [run.name, run.recipe, run.width, run.learning_rate, run.weight_decay, run.seed, run.status]
        for run in group.runs
    ]
    return {
        "group": group.name,
        "rows": [[key, value] for key, value in rows.items() if value not in ("", None)],
        "runs": runs[:_RUNS],
        "more": max(0, len(runs) - _RUNS),
        "whole": as_mapping(group.manifest.get("run")),
    }


def _common(given: list[dict[str, Any]]) -> dict[str, Any]:
    """What all runs were given alike."""
    if not given:
        return {}
    first, *rest = given
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in rest)}


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items() if one is not None)
    return str(value)
