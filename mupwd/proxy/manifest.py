"""The manifest of a run: what it is, and what it ran on."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from mupwd.files import is_temporary, read_json
from mupwd.plan import Plan
from mupwd.proxy.disk import write_atomic

FILE_NAME = "manifest.json"
PLAN_NAME = "plan.json"
SCHEMA = 1
_PACKAGES = ("mupwd", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "optuna")


def environment(device: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns versions, device and git revision: what numbers may depend on besides the configuration.

    Args:
      device: that the run uses, where it is another than this process's.
    """
    if device is None:
        device = {
            "platform": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
            "machine": platform.machine(),
        }
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in _PACKAGES},
        "device": dict(device),
        "git_revision": _git_revision(),
    }


def plan_digest(plan: Plan) -> str:
    """Returns the sha256 of all that a plan does to a run: paths, shapes, roles and multipliers."""
    rows = [
        (p.path, p.shape, p.role, p.lr, p.wd, p.eps, p.init, p.forward, p.gradient) for p in plan.values()
    ]
    text = json.dumps([sorted(rows), plan.beta_ratio, plan.residual_scale])
    return hashlib.sha256(text.encode()).hexdigest()


def open_manifest(directory: Path, run: Mapping[str, Any], about: Mapping[str, Any] | None = None) -> bool:
    """Writes a run's manifest, or checks that the directory holds the same run.

    Args:
      directory: of the run; created where it does not exist.
      run: everything that decides the run's numbers, as JSON types.
      about: what `environment` returned, where it is known already.

    Returns:
      Whether the run was there already.

    Raises:
      ValueError: the directory holds another run, or other files; the message lists what differs.
      NotADirectoryError: the path is a file.
    """
    run = json.loads(json.dumps(run))
    path = directory / FILE_NAME
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(
            f"directory={str(directory)!r} is a file; give the directory for this run's files"
        )
    if not path.exists():
        strangers = sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []
        strangers = [name for name in strangers if not is_temporary(name)]
        if strangers and not path.exists():
            raise ValueError(
                f"directory={str(directory)!r} holds no run ({FILE_NAME} is missing) but other files "
                f"({', '.join(strangers[:3])}{', ...' if len(strangers) > 3 else ''}); give an empty or a "
                "new directory"
            )
        directory.mkdir(parents=True, exist_ok=True)
        about = environment() if about is None else about
        text = json.dumps({"schema": SCHEMA, "run": run, "environment": about}, indent=2) + "\n"
        # Of several processes that start a run together one writes it, and the others find it.
        with contextlib.suppress(FileExistsError):
            write_atomic(path, text, new=True)
            return False
    found = read_manifest(directory)["run"]
    differences = _differences(found, run)
    if differences:
        raise ValueError(
            f"directory={str(directory)!r} holds another run; give another directory, or the same "
            "configuration to go on with it:\n" + "\n".join(differences)
        )
    return True


def read_manifest(directory: Path) -> dict[str, Any]:
    """Returns the manifest of a run's directory.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is not one, or of a schema this version does not read.
    """
    path = Path(directory) / FILE_NAME
    if not path.exists():
        raise FileNotFoundError(f"no {FILE_NAME} in {str(directory)!r}: it is not the directory of a run")
    try:
        manifest = read_json(path)
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON ({error}): it is damaged; put it back from a copy, or start anew in another directory"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} is not a manifest of schema {SCHEMA}; it was written by another program or version"
        )
    for name in ("run", "environment"):
        if not isinstance(manifest.get(name), dict):
            raise ValueError(
                f"{path} has no {name!r}: it is damaged; put it back from a copy, or start anew elsewhere"
            )
    return manifest


def _differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        return [
            line
            for key in sorted({*found, *wanted})
            for line in _differences(found.get(key), wanted.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if found == wanted else [f"  {name}: {found!r} in the directory, {wanted!r} asked for"]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _git_revision() -> str | None:
    """The revision of the checkout that the package runs from, "-dirty" appended; None if installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
