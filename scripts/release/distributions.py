"""Builds the wheel and the source distribution of the last commit, from a clone of it.

    python scripts/release/distributions.py --out dist

What is not committed is not in a clone, and so not in a release either. The wheel is made of the source distribution;
one that is made of the clone must be the same to the last byte.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build(out: Path, work: Path) -> Path:
    """Builds both; returns the wheel.

    Args:
      out: for the two files; those of earlier builds there are removed.
      work: an empty folder, for the clone and for the environment that builds.

    Raises:
      subprocess.CalledProcessError: a step failed; it has said why.
      RuntimeError: the two wheels differ.
    """
    clone, tools = work / "clone", work / "tools"
    _run("git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), clone)
    venv.create(tools, with_pip=True, symlinks=True)
    python = tools / "bin" / "python"
    needs = tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    _run(python, "-m", "pip", "install", "--quiet", "build", "twine", *needs)
    if out.exists():
        for old in [*out.glob("mupwd-*.whl"), *out.glob("mupwd-*.tar.gz")]:
            old.unlink()
    direct = work / "direct"
    # The environment was made for this, so that no further ones are needed.
    _run(python, "-m", "build", "--no-isolation", "--wheel", "--outdir", direct, clone)
    _run(python, "-m", "build", "--no-isolation", "--outdir", out, clone)
    (wheel,) = out.glob("mupwd-*.whl")
    if (direct / wheel.name).read_bytes() != wheel.read_bytes():
        raise RuntimeError(f"{wheel.name} of the source distribution is not that of the clone")
    _run(python, "-m", "twine", "check", "--strict", *sorted(out.glob("mupwd-*")))
    return wheel


def uncommitted() -> str:
    """Returns what `git status` says of changes that a release would not have; empty where there are none."""
    return subprocess.run(
        ["git", "-C", ROOT, "status", "--short"], capture_output=True, text=True, check=True
    ).stdout.rstrip()


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        done.check_returncode()


def main() -> int:
    """Builds, and says what was built."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="DIR", help="default: dist")
    args = parser.parse_args()
    if changes := uncommitted():
        print(f"notice: not committed, and so not built:\n{changes}", file=sys.stderr)
    work = Path(tempfile.mkdtemp(prefix="mupwd-build-"))
    try:
        build(args.out.resolve(), work)
    finally:
        shutil.rmtree(work)
    for file in sorted(args.out.glob("mupwd-*")):
        print(f"{file}  {file.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
