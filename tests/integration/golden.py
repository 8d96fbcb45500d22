"""Role trees of models that others wrote: read off the program, written to and read from golden files.

A module of models/ says which package a model is from and how it is built; golden/ has a file for each, with
the versions that it was traced with. Needs no pytest: scripts/integration runs it in environments of other packages.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
from pathlib import Path
from types import ModuleType
from typing import Any

import mupwd

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in (HERE / "models").glob("*.py"))
BASE = 16


def model(name: str) -> ModuleType:
    """The module of one model; imports its package."""
    path = HERE / "models" / f"{name}.py"
    if not path.exists():
        raise ValueError(f"no model {name!r}; there are {', '.join(NAMES)}")
    spec = importlib.util.spec_from_file_location(f"real_models.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def family(module: ModuleType, overrides: dict[str, str] | None = None) -> mupwd.Family:
    """The family of a model; `overrides` in the place of its own."""
    stated = getattr(module, "overrides", {}) if overrides is None else overrides
    return mupwd.family(
        module.build,
        base=getattr(module, "BASE", BASE),
        inputs=module.inputs,
        call=getattr(module, "call", None),
        overrides=stated,
    )


def roles(family: mupwd.Family) -> dict[str, str]:
    """`{path: "role: axes"}` as an override would state it."""
    return {path: f"{p.role}: {' '.join(_words(p))}".rstrip(": ") for path, p in family.parameters.items()}


def _words(parameter: Any) -> list[str]:
    pieces = parameter.pieces or (1,) * len(parameter.axes)
    return [
        word.replace("stack+", f"stack{count}+") for word, count in zip(parameter.axes, pieces, strict=True)
    ]


def path(name: str) -> Path:
    """The golden file of a model."""
    return HERE / "golden" / f"{name}.json"


def source(name: str) -> str:
    """The module of a model as text, which can be read without its package."""
    return (HERE / "models" / f"{name}.py").read_text()


def read(name: str) -> dict[str, Any]:
    """What the golden file of a model says."""
    return json.loads(path(name).read_text())


def traced(name: str) -> dict[str, Any]:
    """What a golden file says, found anew: where a model is refused, the parameter and the message."""
    module = model(name)
    found = {
        "model": module.MODEL,
        "framework": module.FRAMEWORK,
        "package": f"{module.PACKAGE} {importlib.metadata.version(module.PACKAGE)}",
        "traced_with": f"Python {platform.python_version()}, jax {importlib.metadata.version('jax')}",
    }
    if getattr(module, "overrides", None):
        found["overrides"] = module.overrides
    return found | {"parameters": roles(family(module))}


def write(name: str, found: dict[str, Any]) -> None:
    """Writes a golden file."""
    path(name).parent.mkdir(exist_ok=True)
    path(name).write_text(json.dumps(found, indent=2) + "\n")
