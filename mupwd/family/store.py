"""Families as JSON files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any, get_args

from mupwd.family.family import Family
from mupwd.files import write_atomically
from mupwd.tracing.errors import TraceError
from mupwd.tracing.roles import Logits, Parameter, Role

_FORMAT = "mupwd family"
_VERSION = 1
_AXIS_WORDS = ("in", "out", "stack", "lookup", "elementwise", "unused")


def save(family: Family, file: str | os.PathLike[str]) -> None:
    """Writes a family; see `Family.save`."""
    parameters = [dataclasses.asdict(p) for p in family.parameters.values()]
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "shape_hash": _shape_hash(family.parameters.values()),
        "base": family.base,
        "delta": family.delta,
        "parameters": parameters,
        "logits": [dataclasses.asdict(found) for found in family.logits],
    }
    write_atomically(file, json.dumps(content, allow_nan=False))


def load(file: str | os.PathLike[str]) -> Family:
    """Reads a family; see `Family.load`."""
    again = "make the family again and save it"
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TraceError(f"{file} is damaged: it is not JSON ({error}); {again}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise TraceError(f"{file} is not a family that Family.save wrote (its format is not {_FORMAT!r})")
    if content.get("version") != _VERSION:
        raise TraceError(
            f"{file} has version {content.get('version')}, this mupwd reads version {_VERSION}; upgrade mupwd, or "
            f"{again}"
        )
    try:
        parameters = [_parameter(fields) for fields in content["parameters"]]
        logits = tuple(Logits(**found) for found in content["logits"])
        found = Family({p.path: p for p in parameters}, content["base"], content["delta"], logits)
        recorded = content["shape_hash"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TraceError(f"{file} is damaged: {type(error).__name__}: {error}; {again}") from error
    if _shape_hash(found.parameters.values()) != recorded:
        raise TraceError(
            f"{file} was changed or damaged: its shapes do not match their recorded hash; {again}"
        )
    return found


def _parameter(content: dict[str, Any]) -> Parameter:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    parameter = Parameter(**fields)
    if not isinstance(parameter.path, str) or parameter.role not in get_args(Role):
        raise ValueError(f"there is no role {parameter.role!r} (of {parameter.path!r})")
    unknown = {word for axis in parameter.axes for word in axis.split("+")} - set(_AXIS_WORDS)
    if unknown:
        raise ValueError(f"{parameter.path} has axes of no known kind: {', '.join(sorted(unknown))}")
    return parameter


def _shape_hash(parameters: Any) -> str:
    shapes = sorted((p.path, list(p.shape), p.dtype, list(p.growing)) for p in parameters)
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()
