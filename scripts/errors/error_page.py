"""docs/errors.md: every message, as a test met it or as the source has it.

    python scripts/errors/error_page.py [RECORDED ...]

makes the page of the source and of docs/errors.json, after it has put into that file what `pytest --errors=RECORDED`
wrote. A message that the source no longer has leaves the file and the page.
"""

import ast
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from error_sites import COMMAND, HOLE, PART, ROOT, WARNING, Site, sites

PAGE = ROOT / "docs" / "errors.md"
MET = ROOT / "docs" / "errors.json"

Met = dict[str, dict[str, str]]
"""By module, and by the site's key: what a user sees of it."""

# Where a user meets them: beginnings of paths under mupwd/. The first that fits holds.
GROUPS = {
    "Families: what a model is": ("family/", "tracing/", "paths", "forward"),
    "Recipes": ("recipes/",),
    "Plans": ("plan/",),
    "Optimizers": ("optim/",),
    "Singular values, gains, the coordinate check": ("diagnostics/",),
    "Text and tokens": ("proxy/corpus", "proxy/tokens"),
    "Training runs": ("proxy/",),
    "Sweeps": ("sweep/",),
    "Transfer and steady state": ("transfer/",),
    "Reports": ("report/",),
    "The command line": ("commands/", "named"),
    "Numbers and files, wherever they are given": ("scalars", "decode", "files"),
}

_HEAD = """\
# Messages

Every message of mupwd's errors and warnings, by where it is met. To find yours, search the page for a few of its words
that are not names or numbers. A message names the parameter, the file or the flag, says what was found there and what
is expected, and what to do.

{met} messages are shown as a test met them; the other {unmet} stand below those, as the source has them.
`{hole}` is what differs from case to case: names and numbers in the latter, paths and line numbers in both. Errors of
the system, and of code that mupwd calls, are not here.

`TraceError`, `PlanError` and `CorpusError` are kinds of `ValueError`. The command line prints
`mupwd COMMAND: error: ` and the message, and ends with code 2; below the traceback of code of yours, if that failed
(`TheirError`). *usage* is what it says of a command line that it cannot read.

The page is made of the source and of what tests meet, and a test compares it with the source:

    python -m pytest --errors=build/errors.jsonl
    python scripts/errors/error_page.py build/errors.jsonl
"""

# What a message comes as, where that is no class of its own.
_NAMES = {COMMAND: "usage", WARNING: "warning", PART: "TraceError"}

# What differs between machines and days.
_UNSTABLE = [
    (re.compile(r"/[^\s'\":,;()]*/pytest-of-[^/]+/pytest-\d+(/popen-gw\d+)?(/[^/\s'\":,;()]+\d+)?"), HOLE),
    (re.compile(re.escape(str(ROOT))), HOLE),
    (re.compile(r"/[^\s'\"]*/site-packages/"), f"{HOLE}/"),
    (re.compile(r"/tmp/[^\s'\":,;()]+"), HOLE),
    (re.compile(r"0x[0-9a-f]{6,}"), f"0x{HOLE}"),
    (re.compile(r"(\.py):\d+"), rf"\1:{HOLE}"),
    (re.compile(r"\b(port|process|pid) \d+"), rf"\1 {HOLE}"),
]


def stable(message: str) -> str:
    """Returns a message without what differs between two runs of the tests."""
    for pattern, instead in _UNSTABLE:
        message = pattern.sub(instead, message)
    return message


def site_of(record: Mapping[str, str], known: Iterable[Site]) -> Iterator[Site]:
    """Yields the sites that a record is of: the one that made it, and the parts in it.

    Args:
      record: as `pytest --errors` writes it.
      known: every site.
    """
    kind, message = record["type"], record["message"]
    # Python makes of an OSError the class of its number.
    kinds = {"SystemExit": {COMMAND}}.get(kind, {kind, "OSError"})
    fitting = [site for site in known if site.kind in kinds and site.matches(message)]
    if fitting:
        yield max(fitting, key=lambda site: (site.module == record["module"], site.weight))
    if kind.endswith("TraceError"):
        yield from (site for site in known if site.kind == PART and site.matches(message))


def merged(met: Met, records: Iterable[Mapping[str, str]], known: Iterable[Site]) -> Met:
    """Returns what was met, with new records, and without what the source no longer has.

    Args:
      met: before.
      records: as `pytest --errors` writes them.
      known: every site.
    """
    known = list(known)
    found: dict[tuple[str, str], set[str]] = {}
    for site in known:
        before = met.get(site.module, {}).get(site.key)
        found[site.module, site.key] = set() if before is None else {before}
    for record in records:
        for site in site_of(record, known):
            kind = _NAMES.get(site.kind, record.get("shown_as", record["type"]))
            found[site.module, site.key].add(f"{kind}: {stable(record['shown'])}")
    result: Met = {}
    for (module, key), shown in sorted(found.items()):
        if shown:
            # Whichever was recorded first: the shortest.
            result.setdefault(module, {})[key] = min(shown, key=lambda text: (len(text), text))
    return result


def page(known: Iterable[Site], met: Met) -> str:
    """Returns the page.

    Args:
      known: every site.
      met: by module and key.
    """
    known = list(known)
    shown = {site: met[site.module][site.key] for site in known if site.key in met.get(site.module, {})}
    parts = [_HEAD.format(hole=HOLE, met=len(shown), unmet=len(known) - len(shown))]
    for title in GROUPS:
        parts.append(f"## {title}\n")
        here = [site for site in known if _group(site.module) == title]
        # One message may be of several sites: of a reason, and of what puts it into words.
        items = {_item(shown[site]): site.module for site in reversed(here) if site in shown}
        for module in dict.fromkeys(site.module for site in here):
            if own := [item for item in reversed(items) if items[item] == module]:
                parts += [_subject(module), *own, ""]
        if rest := dict.fromkeys(_item(_unmet(site)) for site in here if site not in shown):
            parts += ["No test meets these:\n", *rest, ""]
    return "\n".join(parts)


def _group(module: str) -> str:
    inside = module.removeprefix("mupwd/")
    return next(
        title for title, beginnings in GROUPS.items() if any(inside.startswith(one) for one in beginnings)
    )


def _subject(module: str) -> str:
    """What a module is about, in its own words."""
    about = ast.get_docstring(ast.parse((ROOT / module).read_text(encoding="utf-8"))) or module
    first = about.partition("\n\n")[0]
    return f"**{' '.join(first.split()).rstrip('.')}**\n"


def _unmet(site: Site) -> str:
    text = f"{HOLE} {site.text} {HOLE}" if site.kind == PART else site.text
    return f"{_NAMES.get(site.kind, site.kind)}: {text}"


def _item(message: str) -> str:
    kind, _, text = message.partition(": ")
    text = " ".join(text.split())
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if "`" in (text[0], text[-1]) else ""
    return f"- *{kind}* {ticks}{space}{text}{space}{ticks}"


def main(recorded: list[str]) -> None:
    """Makes the file and the page.

    Args:
      recorded: files that `pytest --errors` wrote.
    """
    known = sites()
    met = json.loads(MET.read_text(encoding="utf-8")) if MET.exists() else {}
    lines = [line for file in recorded for line in Path(file).read_text(encoding="utf-8").splitlines()]
    met = merged(met, map(json.loads, lines), known)
    MET.write_text(json.dumps(met, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(known, met), encoding="utf-8")
    print(f"{PAGE}: {sum(map(len, met.values()))} of {len(known)} messages met")


if __name__ == "__main__":
    main(sys.argv[1:])
