"""Do the tests notice when the code is wrong? Mutation testing of the parts that decide, on demand.

    pip install -e '.[dev]' mutmut
    python scripts/mutants.py recipes                      five minutes on two cores
    python scripts/mutants.py plan --only '*store*'        mutants whose name matches
    python scripts/mutants.py tracing --only '*7'          those whose number ends in 7: a tenth of them
    python scripts/mutants.py tracing recipes plan optim transfer

Each package is mutated in a clone of the last commit under build/mutants, and its own tests run against every mutant
by mutmut. Stopped, the same command goes on where it was, as long as the commit is the same. A mutant that no test
kills is printed with what it changed, unless scripts/mutants.toml says why it may live. Those that change only the
words of a message are counted and not printed: docs/errors.md holds the words. The exit code is 1 if any is printed.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXPLAINED = Path(__file__).with_suffix(".toml")
PACKAGES = ("tracing", "recipes", "plan", "optim", "transfer")
# The forkserver: tests start threads of XLA, which a plain fork would lose.
CONFIG = """
[tool.mutmut]
source_paths = ["mupwd"]
only_mutate = ["mupwd/{package}/*"]
also_copy = ["docs", "examples", "scripts", "benchmarks", "README.md", "LICENSE", "Makefile", "CHANGELOG.md"]
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:xdist", "-q"]
pytest_add_cli_args_test_selection = ["tests/{package}"]
process_isolation = "forkserver"
track_dependencies = false
"""


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test killed.

    Attributes:
      name: as mutmut calls it; `mutmut show NAME` in the clone prints it.
      before, after: the line, without its indentation; several are joined.
    """

    name: str
    before: str
    after: str

    @property
    def function(self) -> str:
        """The dotted name of what was changed."""
        stem = self.name.partition("__mutmut_")[0]
        return stem.replace("xǁ", "").replace("ǁ", ".").replace(".x_", ".")

    @property
    def is_wording(self) -> bool:
        """Whether only a sentence between quotes changed."""
        return self.before != self.after and _unquoted(self.before) == _unquoted(self.after)


def main() -> int:
    """Runs the packages one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("packages", nargs="+", choices=PACKAGES)
    parser.add_argument("--only", default="*", metavar="PATTERN", help="of the mutants' names (default: all)")
    parser.add_argument("--children", type=int, default=2, help="mutants at a time (default: 2)")
    args = parser.parse_args()
    if importlib.util.find_spec("mutmut") is None:
        parser.error("mutmut is not installed: pip install mutmut")
    explained = tomllib.loads(EXPLAINED.read_text(encoding="utf-8"))["survivor"]
    left = 0
    for package in args.packages:
        clone = _clone(package)
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(args.children)]
        # mutmut ends with 0 also where mutants survive; anything else is a failure of its own or of the tests.
        subprocess.run([*command, *([] if args.only == "*" else [args.only])], cwd=clone, check=True)
        statuses = {
            name: status for name, status in _statuses(clone).items() if fnmatch.fnmatch(name, args.only)
        }
        survivors = [_shown(clone, name) for name, status in statuses.items() if status == "survived"]
        unexplained = [one for one in survivors if not one.is_wording and _reason(one, explained) is None]
        print(summary(package, statuses, survivors, len(unexplained)))
        for one in unexplained:
            print(f"\n{one.function}\n  - {one.before}\n  + {one.after}")
        left += len(unexplained)
    return 1 if left else 0


def summary(package: str, statuses: Mapping[str, str], survivors: list[Survivor], left: int) -> str:
    """One line of counts."""
    counts = Counter(statuses.values())
    words = sum(one.is_wording for one in survivors)
    return (
        f"\n{package}: {sum(counts.values())} mutants, {counts['killed'] + counts['timeout']} killed, "
        f"{counts['no tests']} in functions that its tests do not call, {words} of words, "
        f"{len(survivors) - words - left} explained, {left} left"
    )


def _clone(package: str) -> Path:
    """A clone at the last commit, kept from an earlier run of the same commit."""
    head = _git("rev-parse", "HEAD", cwd=ROOT)
    folder = ROOT / "build" / "mutants" / f"{package}-{head[:12]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _git("clone", "--quiet", str(ROOT), str(folder), cwd=ROOT)
        project = folder / "pyproject.toml"
        project.write_text(
            project.read_text(encoding="utf-8") + CONFIG.format(package=package), encoding="utf-8"
        )
    return folder


def _git(*words: str, cwd: Path) -> str:
    return subprocess.run(["git", *words], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def _statuses(clone: Path) -> dict[str, str]:
    printed = _mutmut(clone, "results", "--all", "true")
    return dict(re.findall(r"^ +(\S+): (.+)$", printed, re.MULTILINE))


def _shown(clone: Path, name: str) -> Survivor:
    lines = _mutmut(clone, "show", name).splitlines()
    changes = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    before, after = (" ".join(line[1:].strip() for line in changes if line[0] == sign) for sign in ("-", "+"))
    return Survivor(name, before, after)


def _mutmut(clone: Path, *words: str) -> str:
    command = [sys.executable, "-m", "mutmut", *words]
    return subprocess.run(command, cwd=clone, check=True, capture_output=True, text=True).stdout


def _reason(one: Survivor, explained: list[dict[str, str]]) -> str | None:
    for entry in explained:
        if one.function == entry["function"] and entry["becomes"] in one.after:
            return entry["why"]
    return None


def _unquoted(line: str) -> list[str]:
    """The line with its sentences taken out: strings of three words or more, of which only what is in braces stays."""
    parts, end = [], 0
    for found in re.finditer(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""", line):
        text = found[1][1:-1]
        parts += [line[end : found.start()].strip()]
        parts += re.findall(r"\{[^{}]*\}", text) if len(text.split()) > 2 else [text]
        end = found.end()
    return [*parts, line[end:].strip()]


if __name__ == "__main__":
    sys.exit(main())
