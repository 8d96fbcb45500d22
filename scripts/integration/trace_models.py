"""Traces models that others wrote, each group in an environment of its own, and compares the role trees.

The models are the modules of tests/integration/models, their role trees the files of tests/integration/golden. Those
whose packages agree with this project's are part of the test suite; the others (they say ENVIRONMENT = "…") are
traced here: a virtual environment for each group of scripts/integration/environments.toml is made with pip, once, and
the models of the group are traced in it, one process each. What was traced stays in the directory: an
interrupted run goes on where it stopped, and --again traces anew.

  python scripts/integration/trace_models.py --directory /tmp/models                # compare all with the golden files
  python scripts/integration/trace_models.py --directory /tmp/models --write        # and write the golden files
  python scripts/integration/trace_models.py --directory /tmp/models transformers   # one environment, or one model
  python scripts/integration/trace_models.py --documented                           # bring docs/models.md up to date

Exit status: 0 where all role trees agree with the golden files (or were written), 1 else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "integration"
ENVIRONMENTS = tomllib.loads(Path(__file__).with_name("environments.toml").read_text())
_TRACE = """
import json, sys
import golden
try:
    found = golden.traced(sys.argv[1])
except Exception as error:
    found = {"error": f"{type(error).__name__}: {error}"}
print("\\n" + json.dumps(found))
"""


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="models or environments; all of the environments by default")
    parser.add_argument("--directory", type=Path, help="for the environments and results; is made")
    parser.add_argument("--write", action="store_true", help="write the golden files and docs/models.md")
    parser.add_argument("--again", action="store_true", help="trace what was traced before as well")
    parser.add_argument("--documented", action="store_true", help="only write the table of docs/models.md")
    options = parser.parse_args()
    if options.documented:
        _document()
        return 0
    if options.directory is None:
        parser.error("--directory is needed: where the environments go (1 to 6 GB each)")
    groups = _groups(parser, options.names)
    failed = False
    print(f"{'environment':14} {'model':24} result")
    for group, names in groups.items():
        python = None
        for name in names:
            kept = options.directory.resolve() / "traced" / f"{name}.json"
            if options.again or not kept.exists():
                python = python or _environment(options.directory.resolve(), group)
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(_traced(python, name, group), indent=2) + "\n")
            result, good = _compared(name, json.loads(kept.read_text()), options.write)
            failed |= not good
            print(f"{group:14} {name:24} {result}", flush=True)
    if options.write:
        _document()
    return int(failed)


def _groups(parser: argparse.ArgumentParser, names: list[str]) -> dict[str, list[str]]:
    """`{environment: models}` of what was asked for."""
    found: dict[str, list[str]] = {group: [] for group in ENVIRONMENTS}
    for path in sorted((TESTS / "models").glob("*.py")):
        for line in path.read_text().splitlines():
            if line.startswith("ENVIRONMENT = "):
                found[line.split('"')[1]].append(path.stem)
    known = {*found, *(name for group in found.values() for name in group)}
    if unknown := set(names) - known:
        parser.error(f"{', '.join(sorted(unknown))}: expected {', '.join(sorted(known))}")
    wanted = {
        group: [n for n in members if not names or n in names or group in names]
        for group, members in found.items()
    }
    return {group: members for group, members in wanted.items() if members}


def _environment(directory: Path, group: str) -> Path:
    """The Python of a group's virtual environment, which is made where it is not there yet."""
    wanted = ENVIRONMENTS[group]
    stamp = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    place = directory / group
    python, made = place / "bin" / "python", place / "made"
    if made.exists() and made.read_text() == stamp:
        return python
    print(f"{group:14} making the environment ({', '.join(wanted['requirements'])})", flush=True)
    creator = os.environ.get(f"PYTHON{wanted['python'].replace('.', '')}", f"python{wanted['python']}")
    subprocess.run([creator, "-m", "venv", "--clear", str(place)], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted["requirements"]], check=True)
    made.write_text(stamp)
    return python


def _traced(python: Path, name: str, group: str) -> dict[str, Any]:
    """What `golden.traced` finds in another environment."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run([python, "-c", _TRACE, name], env=environment, capture_output=True, text=True)
    lines = run.stdout.strip().splitlines()
    if run.returncode or not lines:
        return {"error": f"exit status {run.returncode}: {run.stderr.strip()[-2000:]}"}
    found = json.loads(lines[-1])
    if "error" in found:
        return found
    return found | {"environment": group}


def _compared(name: str, found: dict[str, Any], write: bool) -> tuple[str, bool]:
    """What to print of a model, and whether it is as it should be."""
    if "error" in found:
        return f"FAILED: {' '.join(found['error'].split())[:300]}", False
    golden = TESTS / "golden" / f"{name}.json"
    count = f"{len(found['parameters'])} parameters ({found['package']}, {found['traced_with']})"
    if write:
        golden.write_text(json.dumps(found, indent=2) + "\n")
        return f"written: {count}", True
    if not golden.exists():
        return "FAILED: has no golden file; --write makes one", False
    before = json.loads(golden.read_text())["parameters"]
    now = found["parameters"]
    changed = [path for path in sorted({*before, *now}) if before.get(path) != now.get(path)]
    if not changed:
        return f"agrees: {count}", True
    return f"DIFFERS: {changed[0]} was {before.get(changed[0])}, is {now.get(changed[0])}", False


def _document() -> None:
    sys.path.insert(0, str(TESTS))
    from table import rows, with_rows  # pyright: ignore[reportMissingImports] - of the tests' folder

    page = ROOT / "docs" / "models.md"
    page.write_text(with_rows(page.read_text(), rows()))


if __name__ == "__main__":
    sys.exit(main())
