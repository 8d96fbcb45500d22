"""Plans as JSON, and as its files."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from mupwd.files import write_atomically
from mupwd.plan.errors import PlanError
from mupwd.plan.parameter import ParameterPlan
from mupwd.plan.plan import Plan
from mupwd.recipes import Powers, Recipe, Rule
from mupwd.tracing.roles import Logits, Parameter

_FORMAT = "mupwd plan"
_VERSION = 3
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
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PlanError(
            f"{file} is damaged: it is not JSON ({error}); make and save the plan again"
        ) from error
    return from_json(content, str(file))


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
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise PlanError(f"{where} is not a plan that Plan.save wrote (its format is not {_FORMAT!r})")
    version = content.get("version")
    if version != _VERSION:
        raise PlanError(
            f"{where} has version {version}, this mupwd reads version {_VERSION}; upgrade mupwd, or make and "
            "save the plan again"
        )
    try:
        plan = Plan(
            rules=_recipe(content["recipe"]),
            parameters=tuple(_parameter_plan(parameter) for parameter in content["parameters"]),
            logits=tuple(Logits(**found) for found in content["logits"]),
            **{name: content[name] for name in _PLAIN_FIELDS},
        )
        recorded = content["shape_hash"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PlanError(
            f"{where} is damaged: {type(error).__name__}: {error}; make and save the plan again"
        ) from error
    if plan.shape_hash != recorded:
        raise PlanError(
            f"{where} was changed or damaged: its shapes do not match their recorded hash; make and save the "
            "plan again"
        )
    return plan


def _recipe(content: dict[str, Any]) -> Recipe:
    fields: dict[str, Any] = {}
    for name, value in content.items():
        if name in ("residual", "one_minus_beta"):
            fields[name] = Powers(**value)
        elif name == "decay_exponents":
            fields[name] = tuple((pattern, exponent) for pattern, exponent in value)
        elif isinstance(value, dict):
            powers: dict[str, Any] = {
                quantity: None if p is None else Powers(**p) for quantity, p in value.items()
            }
            fields[name] = Rule(**powers)
        else:
            fields[name] = value
    return Recipe(**fields)


def _parameter_plan(content: dict[str, Any]) -> ParameterPlan:
    parameter: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in content["parameter"].items()
    }
    fields = {**content, "parameter": Parameter(**parameter), "shape": tuple(content["shape"])}
    plan = ParameterPlan(**fields)
    numbers = [
        plan.m_in,
        plan.m_out,
        plan.lr,
        plan.wd,
        plan.eps,
        plan.forward,
        plan.gradient,
        plan.gradient_size,
        plan.init or 0.0,
    ]
    if any(isinstance(number, bool) or not isinstance(number, (int, float)) for number in numbers):
        raise ValueError(f"{plan.path} has a multiplier that is not a number")
    return plan
