"""Runs the benchmarks, keeps what they print, and writes docs/performance.md from it.

    python benchmarks/performance.py                      writes the page from what is kept
    python benchmarks/performance.py --check              exit code 1 if the page is not what is kept
    python benchmarks/performance.py --run optimizer use  runs these again, keeps their output, and writes the page
    python benchmarks/performance.py --run all            runs every one: half an hour; leave the machine alone

What a benchmark printed lies in docs/performance/NAME.txt under its command, its date and its machine. The sentences
around it are performance.md in this folder, with a name in double braces wherever an output or a number belongs.
`proxy` compares with PyTorch: `--torch PYTHON` names a Python that has torch and transformers (default: this one).
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from printed import Printed, numbers

from mupwd.files import write_atomically

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "docs" / "performance"
PAGE = ROOT / "docs" / "performance.md"
COMMANDS = {
    "optimizer": "python benchmarks/optimizer.py --steps 60",
    "forward": "python benchmarks/forward.py --steps 100",
    "plan": "python benchmarks/plan.py",
    "proxy": "python benchmarks/proxy.py --torch PYTHON",
    "spectral": "python benchmarks/spectral.py --parts cold warm --widths 1024 2048 --steps 7",
    "use": "python benchmarks/spectral.py --parts use",
    "training": "python benchmarks/spectral.py --parts training --steps 15",
    "instrument": "python benchmarks/instrument.py --steps 100",
    "dispatch": "python benchmarks/dispatch.py",
}
_PACKAGES = ("jax", "optax", "flax", "numpy")
_NAME = re.compile(r"\{\{(\w+)\}\}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs, writes or compares, as the flags say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--run", nargs="+", choices=("all", *COMMANDS), metavar="NAME", default=[])
    what.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("--torch", default=sys.executable, metavar="PYTHON", help="of the benchmark `proxy`")
    args = parser.parse_args(argv)
    for name in COMMANDS if "all" in args.run else args.run:
        run(name, args.torch)
    text = page()
    if args.check:
        same = PAGE.read_text(encoding="utf-8") == text
        print(f"{PAGE} {'is' if same else 'is not'} what docs/performance says")
        return 0 if same else 1
    write_atomically(PAGE, text.encode())
    print(f"Written: {PAGE.relative_to(ROOT)}")
    return 0


def run(name: str, torch: str) -> None:
    """Runs a benchmark and keeps what it printed; its progress goes to this terminal.

    Raises:
      SystemExit: it failed; what was kept before stays.
    """
    command = COMMANDS[name]
    print(f"$ {command}", file=sys.stderr)
    words = [{"python": sys.executable, "PYTHON": torch}.get(word, word) for word in shlex.split(command)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(
            f"{command} ended with exit code {done.returncode}, see above; {KEPT / name}.txt is as it was"
        )
    KEPT.mkdir(exist_ok=True)
    write_atomically(KEPT / f"{name}.txt", f"$ {command}\n# {where()}\n{done.stdout}".encode())


def where() -> str:
    """The date, the machine and the versions, in one line."""
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in _PACKAGES)
    return (
        f"{datetime.datetime.now(datetime.UTC).date()}, {_processor()}, {len(os.sched_getaffinity(0))} cores; "
        f"Python {platform.python_version()}, {versions}"
    )


def page() -> str:
    """Returns the page's text.

    Raises:
      KeyError: the sentences ask for something that is not kept.
    """
    found = _outputs() | numbers(printed())
    text = (Path(__file__).parent / "performance.md").read_text(encoding="utf-8")
    if missing := sorted(set(_NAME.findall(text)) - set(found)):
        raise KeyError(f"performance.md asks for {', '.join(missing)}; there are {', '.join(sorted(found))}")
    return _NAME.sub(lambda match: found[match[1]], text)


def printed() -> Mapping[str, Printed]:
    """Returns what each benchmark printed, by its name."""
    return {name: Printed.of(KEPT / f"{name}.txt") for name in COMMANDS}


def _outputs() -> dict[str, str]:
    """Each output as a code block under its command."""
    return {f"output_{name}": f"```\n{one.text.strip()}\n```" for name, one in printed().items()}


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
