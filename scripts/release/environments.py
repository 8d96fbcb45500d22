"""Environments that hold mupwd, one extra of it, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from distributions import ROOT

_LOWER = re.compile(r"([\w.-]+)>=([\w.]+)")


def find_python(version: str) -> str | None:
    """Returns the interpreter of a version such as "3.12": of the path, else of pyenv; None where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for one in candidates:
        # What pyenv puts on the path answers for versions that it has not been told to use, with an error.
        if one and not subprocess.run([one, "-c", "import venv, ensurepip"], capture_output=True).returncode:
            return str(one)
    return None


def extras_of() -> list[str]:
    """Returns the extras that users install, in the order of pyproject.toml."""
    return [name for name in _optional() if name != "dev"]


def lowest(extra: str) -> list[str]:
    """Returns constraints that hold what mupwd asks for at the lowest version that it allows.

    Args:
      extra: whose requirements are held as well as the core's; "" for the core alone.

    Raises:
      ValueError: a requirement has no lower bound.
    """
    wanted = list(_project()["dependencies"])
    for name in [extra, "proxy"] if "mupwd[proxy]" in _optional().get(extra, []) else [extra]:
        wanted += _optional().get(name, [])
    found = []
    for requirement in wanted:
        if requirement.startswith("mupwd["):
            continue
        bound = _LOWER.fullmatch(requirement)
        if bound is None:
            raise ValueError(f"{requirement!r} has no lower bound of the form NAME>=VERSION")
        found.append(f"{bound[1]}=={bound[2]}")
    return found


def make_base(interpreter: str, folder: Path, wheel: Path, extra: str, constraints: Path | None) -> Path:
    """Makes the environment that `make` copies: what the core needs, or also what the proxy does, without mupwd.

    Args:
      interpreter: of the environment.
      folder: for it; one that is there already is kept.
      wheel: of mupwd.
      extra: the one to try.
      constraints: a file for pip.

    Returns:
      The environment.
    """
    core, proxy = folder / "base", folder / "base-proxy"
    if not core.exists():
        # Under another name until it is whole.
        partial = folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run([interpreter, "-m", "venv", partial], check=True)
        _pip(partial, "install", str(wheel), constraints=constraints)
        # Its command would name the environment that it was installed in.
        _pip(partial, "uninstall", "--yes", "mupwd")
        partial.rename(core)
    if extra != "proxy" and "mupwd[proxy]" not in _optional().get(extra, []):
        return core
    if not proxy.exists():
        partial = folder / "partial-proxy"
        make(core, partial, wheel, "proxy", constraints)
        _pip(partial, "uninstall", "--yes", "mupwd")
        partial.rename(proxy)
    return proxy


def make(base: Path, folder: Path, wheel: Path, extra: str, constraints: Path | None) -> Path:
    """Copies an environment and installs mupwd with an extra; returns the copy's interpreter.

    A copy takes links where an installation takes minutes; pip replaces files and never writes into them.

    Args:
      base: of `make_base`.
      folder: to make, on the same file system.
      wheel: of mupwd.
      extra: its name; "" for none.
      constraints: a file for pip.

    Raises:
      RuntimeError: pip failed, or what is installed does not fit together; with its words.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder, symlinks=True, copy_function=os.link)
    _pip(
        folder, "install", f"mupwd{f'[{extra}]' if extra else ''} @ {wheel.as_uri()}", constraints=constraints
    )
    _pip(folder, "check")
    return folder / "bin" / "python"


def _pip(folder: Path, command: str, *arguments: str, constraints: Path | None = None) -> None:
    words = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", command, *arguments]
    if command == "install":
        words += ["--no-compile", *(["--constraint", str(constraints)] if constraints else [])]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}\n{done.stdout}")


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _optional() -> dict[str, list[str]]:
    return _project()["optional-dependencies"]
