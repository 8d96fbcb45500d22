"""Plans as JSON, and as its files."""

from __future__ import annotations

import dataclasses
import json
import os
import reprlib
from collections.abc import Mapping
from typing import Any

from mupwd.decode import decoded, fields_of
from mupwd.files import read_json, write_atomically
from mupwd.plan.errors import PlanError
from mupwd.plan.parameter import ParameterPlan
from mupwd.plan.plan import Plan
from mupwd.recipes import Recipe
from mupwd.tracing.roles import Logits

_FORMAT = "mupwd plan"
_VERSION = 3
_AGAIN = "make and save the plan again"
_PLAIN_FIELDS = (
    "form",
    "base",
    "width",
    "depth_ratio",
    "batch_ratio",
    "token_ratio",
    "sequence_ratio",
    "beta_ratio",
    "residual_scale",
)


def save(plan: Plan, file: str | os.PathLike[str]) -> None:
    """Writes a plan; see `Plan.save`."""
    write_atomically(file, json.dumps(to_json(plan), allow_nan=False))


def load(file: str | os.PathLike[str]) -> Plan:
    """Reads a plan; see `Plan.load`."""
    try:
        content = read_json(file)
    except ValueError as error:
        raise PlanError(f"{os.fspath(file)} is damaged: it is not JSON ({error}); {_AGAIN}") from error
    return from_json(content, os.fspath(file))


def to_json(plan: Plan) -> dict[str, Any]:
    """Returns a plan as JSON has it; see `Plan.to_json`."""
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "shape_hash": plan.shape_hash,
        **{name: getattr(plan, name) for name in _PLAIN_FIELDS},
        "recipe": dataclasses.asdict(plan.rules),
        "logits": [dataclasses.asdict(found) for found in plan.logits],
        "parameters": [dataclasses.asdict(parameter) for parameter in plan.parameters],
    }


def from_json(content: Any, where: str = "the JSON") -> Plan:
    """Makes a plan of what JSON has; see `Plan.from_json`.

    Args:
      content: of the JSON.
      where: it was found, for messages.
    """
    if not isinstance(content, Mapping) or content.get("format") != _FORMAT:
        raise PlanError(f"{where} is not a plan that Plan.save wrote (its format is not {_FORMAT!r})")
    version = content.get("version")
    if isinstance(version, bool) or version != _VERSION:
        raise PlanError(
            f"{where} has version {reprlib.repr(version)}, this mupwd reads version {_VERSION}; upgrade mupwd, or make "
            "and save the plan again"
        )
    try:
        plan = Plan(
            rules=decoded(Recipe, _part(content, "recipe"), "recipe"),
            parameters=decoded(tuple[ParameterPlan, ...], _part(content, "parameters"), "parameters"),
            logits=decoded(tuple[Logits, ...], _part(content, "logits"), "logits"),
            **fields_of(Plan, content, names=_PLAIN_FIELDS),
        )
        recorded = _part(content, "shape_hash")
    except ValueError as error:
        raise PlanError(f"{where} is damaged: {error}; {_AGAIN}") from error
    if plan.shape_hash != recorded:
        raise PlanError(
            f"{where} was changed or damaged: its shapes do not match their recorded hash; {_AGAIN}"
        )
    return plan


def _part(content: Mapping[str, Any], name: str) -> Any:
    if name not in content:
        raise ValueError(f"{name} is missing")
    return content[name]
