"""The table of docs/models.md, from the golden files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

START, END = "<!-- from tests/integration/golden -->", "<!-- end -->"


def rows() -> list[str]:
    """The table's lines."""
    found = [
        "| package | framework | model | traced with | roles found | stated |",
        "|---|---|---|---|---|---|",
    ]
    for path in sorted((Path(__file__).parent / "golden").glob("*.json")):
        golden = json.loads(path.read_text())
        counts = Counter(role.partition(":")[0] for role in golden["parameters"].values())
        roles = ", ".join(f"{number} {role}" for role, number in sorted(counts.items()))
        stated = ", ".join(f"`{k}`: `{v}`" for k, v in golden.get("overrides", {}).items()) or "nothing"
        where = golden["traced_with"] + (", own environment" if "environment" in golden else "")
        found.append(
            f"| {golden['package']} | {golden['framework']} | {golden['model']} | {where} | {roles} | {stated} |"
        )
    return found


def with_rows(page: str, rows: list[str]) -> str:
    """The page with its table replaced."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{chr(10).join(rows)}\n{END}{after}"
