"""Builds a release and tries it as strangers get it: on every Python, core alone and each extra, in fresh environments.

    python scripts/release/smoke.py                            everything, on the Pythons that this machine has
    python scripts/release/smoke.py --python 3.12 --extra core --extra ray
    python scripts/release/smoke.py --lowest                   with the lowest versions that mupwd allows
    python scripts/release/smoke.py --wheel dist/mupwd-0.1.0-py3-none-any.whl

What is tried is in checks.py. `missing` and `missing+proxy` are no extras: they see that what is missing is named.
What passed is kept in DIR and not tried again with the same wheel: start the command again after a stop or a repair.
The exit code is 1 where something failed, and also where no Python was found.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from distributions import ROOT, build, uncommitted
from environments import extras_of, find_python, lowest, make, make_base

PYTHONS = ("3.11", "3.12", "3.13")
# What is installed and what is tried, where these are not the extra's own name.
SPECIAL = {"core": ("", "core"), "missing": ("", "missing"), "missing+proxy": ("proxy", "missing")}


class Smoke:
    """The cases of one wheel, and what became of them.

    Args:
      wheel: to try.
      folder: for environments, logs and results.json; of earlier runs as well.
      with_lowest: whether to install the lowest versions that are allowed.
    """

    def __init__(self, wheel: Path, folder: Path, with_lowest: bool):
        self._wheel, self._folder, self._lowest = wheel, folder, with_lowest
        here = Path(__file__).parent
        parts = [wheel, here / "checks.py", here / "environments.py"]
        self._digest = hashlib.sha256(b"".join(file.read_bytes() for file in parts)).hexdigest()
        self._file = folder / "results.json"
        self._results = json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else {}
        for name in ("environments", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def case(self, version: str, interpreter: str, extra: str) -> str:
        """Tries one extra on one Python; returns a cell of the table."""
        name = f"{version}{'-lowest' if self._lowest else ''}-{extra}"
        if self._results.get(name, {}).get("digest") == self._digest:
            return f"passed before ({self._results[name]['seconds']} s)"
        start, log = time.monotonic(), self._folder / "logs" / f"{name}.txt"
        environment = self._folder / "environments" / f"try-{name}"
        try:
            said = self._try(version, interpreter, extra, environment)
        except (RuntimeError, subprocess.SubprocessError) as error:
            log.write_text(str(error), encoding="utf-8")
            return f"FAILED: {log}"
        finally:
            shutil.rmtree(environment, ignore_errors=True)
        log.write_text(said, encoding="utf-8")
        seconds = round(time.monotonic() - start)
        self._results[name] = {"digest": self._digest, "seconds": seconds}
        self._file.write_text(json.dumps(self._results, indent=1), encoding="utf-8")
        notes = [line for line in said.splitlines() if line.startswith("note: ")]
        return "; ".join([f"passed ({seconds} s)", *notes])

    def _try(self, version: str, interpreter: str, extra: str, environment: Path) -> str:
        install, check = SPECIAL.get(extra, (extra, extra))
        constraints, folder = None, self._folder / "environments" / version
        if self._lowest:
            folder = folder.with_name(f"{version}-lowest")
            constraints = self._folder / f"lowest-{extra}.txt"
            constraints.write_text("\n".join(lowest(install)) + "\n", encoding="utf-8")
        folder.mkdir(exist_ok=True)
        base = make_base(interpreter, folder, self._wheel, install, constraints)
        python = make(base, environment, self._wheel, install, constraints)
        # Elsewhere than the checkout, which would be imported instead, and with no file of the person who runs this.
        with tempfile.TemporaryDirectory(prefix="mupwd-smoke-") as empty:
            kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "XLA_"))}
            done = subprocess.run(
                [python, Path(__file__).with_name("checks.py"), check, ROOT / "README.md"],
                cwd=empty,
                env=kept | {"JAX_PLATFORMS": "cpu", "HOME": empty, "XDG_CACHE_HOME": empty},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=1800,
            )
        if done.returncode:
            raise RuntimeError(done.stdout)
        return done.stdout


def main() -> int:
    """Builds, tries, prints the table."""
    extras = extras_of()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", action="append", metavar="X.Y", help="repeat; default: all that are here")
    parser.add_argument("--extra", action="append", choices=[*SPECIAL, *extras], help="repeat; default: all")
    parser.add_argument(
        "--lowest", action="store_true", help="install the lowest versions that are allowed instead"
    )
    parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="instead of building one of the last commit"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "build" / "smoke",
        metavar="DIR",
        help="for environments, logs and results (default: build/smoke)",
    )
    args = parser.parse_args()
    work = args.work.resolve()
    if args.wheel is not None:
        wheel = args.wheel.resolve()
    else:
        if changes := uncommitted():
            print(f"notice: not committed, and so not tried:\n{changes}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="mupwd-build-") as folder:
            wheel = build(work / "dist", Path(folder))
        print(f"built {wheel.name}", flush=True)
    smoke, table = Smoke(wheel, work, args.lowest), {}
    for version in args.python or PYTHONS:
        interpreter = find_python(version)
        if interpreter is None:
            print(f"python {version} is not here", flush=True)
            continue
        for extra in args.extra or [*SPECIAL, *extras]:
            table[version, extra] = smoke.case(version, interpreter, extra)
            print(f"python {version}  {extra:14}  {table[version, extra]}", flush=True)
    failed = sum(cell.startswith("FAILED") for cell in table.values())
    print(f"{len(table) - failed} passed, {failed} failed, of {wheel.name}")
    return 1 if failed or not table else 0


if __name__ == "__main__":
    sys.exit(main())
