"""Families as JSON files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import reprlib
from typing import Any

from mupwd.decode import decoded
from mupwd.family.family import Family
from mupwd.files import read_json, write_atomically
from mupwd.tracing.errors import TraceError
from mupwd.tracing.roles import Logits, Parameter

_FORMAT = "mupwd family"
_VERSION = 1
_AGAIN = "make the family again and save it"


@dataclasses.dataclass(frozen=True)
class _Content:
    """What a file of a family holds."""

    format: str
    version: int
    shape_hash: str
    base: int | None
    delta: int | None
    parameters: tuple[Parameter, ...]
    logits: tuple[Logits, ...]


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
    where = os.fspath(file)
    try:
        content = read_json(file)
    except ValueError as error:
        raise TraceError(f"{where} is damaged: it is not JSON ({error}); {_AGAIN}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise TraceError(f"{where} is not a family that Family.save wrote (its format is not {_FORMAT!r})")
    version = content.get("version")
    if isinstance(version, bool) or version != _VERSION:
        raise TraceError(
            f"{where} has version {reprlib.repr(version)}, this mupwd reads version {_VERSION}; upgrade mupwd, or "
            f"{_AGAIN}"
        )
    try:
        found = _family(decoded(_Content, content))
    except ValueError as error:
        raise TraceError(f"{where} is damaged: {error}; {_AGAIN}") from error
    if _shape_hash(found.parameters.values()) != content["shape_hash"]:
        raise TraceError(
            f"{where} was changed or damaged: its shapes do not match their recorded hash; {_AGAIN}"
        )
    return found


def _family(content: _Content) -> Family:
    parameters = {p.path: p for p in content.parameters}
    if len(parameters) < len(content.parameters):
        paths = [p.path for p in content.parameters]
        raise ValueError(f"two parameters are both named {max(paths, key=paths.count)!r}")
    for name, width in (("base", content.base), ("delta", content.delta)):
        if width is not None and width < 1:
            raise ValueError(f"{name}: expected a positive integer, found {width}")
    return Family(parameters, content.base, content.delta, content.logits)


def _shape_hash(parameters: Any) -> str:
    shapes = sorted((p.path, list(p.shape), p.dtype, list(p.growing)) for p in parameters)
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()
