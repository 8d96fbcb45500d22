"""A coordinate check as text: a table, then what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mupwd.diagnostics.coordinate_theory import half_steps, rule_in_words
from mupwd.diagnostics.coordinate_verdict import Line

if TYPE_CHECKING:
    from mupwd.diagnostics.coordinate_result import CoordinateCheck

SIGNS = {"pass": "✓", "fail": "✗", "undecided": "?", None: "–"}
_NAMES = "parameter  role"
_COLUMNS = ("quantity", "exponent", "interval", "predicted", "verdict")


def report(check: CoordinateCheck) -> str:
    """Formats a check; see `CoordinateCheck`."""
    return "\n".join([_header(check), "", *_table(check), "", *_summary(check)])


def _header(check: CoordinateCheck) -> str:
    plan = next(iter(check.plans.values()))
    runs = f"{check.seeds} seed{'s' * (check.seeds != 1)}, {check.steps} step{'s' * (check.steps != 1)}"
    return (
        f"coordinate check: recipe {plan.recipe}, {plan.form} form, widths {', '.join(map(str, check.plans))}, {runs}\n"
        f"exponents of width, with {100 * check.level:g}% intervals"
    )


def _table(check: CoordinateCheck) -> list[str]:
    role = {path: planned.role for path, planned in next(iter(check.plans.values())).items()}
    names = [f"{line.name}  {role.get(line.path, '')}".rstrip() for line in check.lines]
    cells = [_cells(line) for line in check.lines]
    first = max(map(len, [_NAMES, *names]))
    sizes = [max(map(len, column)) for column in zip(_COLUMNS, *cells, strict=True)]

    def row(name: str, found: tuple[str, ...]) -> str:
        parts = [part.ljust(size) for part, size in zip(found, sizes, strict=True)]
        return "  ".join([name.ljust(first), *parts]).rstrip()

    rows, before = [row(_NAMES, _COLUMNS)], ""
    for name, found in zip(names, cells, strict=True):
        rows.append(row("" if name == before else name, found))
        before = name
    return rows


def _cells(line: Line) -> tuple[str, ...]:
    exponent = "" if line.exponent is None else f"{line.exponent:+.2f}"
    verdict = f"{SIGNS[line.verdict]} {line.note or line.verdict}"
    return line.quantity, exponent, _interval(line), _range(line.predicted), verdict


def _interval(line: Line) -> str:
    return "" if line.interval is None else f"[{line.interval[0]:+.2f}, {line.interval[1]:+.2f}]"


def _range(predicted: tuple[float, float]) -> str:
    low, high = (f"{end + 0.0:.2f}".rstrip("0").rstrip(".").replace("-0.5", "-1/2") for end in predicted)
    return low if low == high else f"{low} to {high}"


def _summary(check: CoordinateCheck) -> list[str]:
    judged = [line for line in check.lines if line.verdict]
    counts = {verdict: sum(line.verdict == verdict for line in judged) for verdict in ("fail", "undecided")}
    lines = [f"  {SIGNS['fail']} {_divergence(check)}"] if check.diverged else []
    lines += [f"  {SIGNS['fail']} {_mistake(check, line)}" for line in judged if line.verdict == "fail"]
    lines += [
        f"  {SIGNS['undecided']} {_advice(check, line)}" for line in judged if line.verdict == "undecided"
    ]
    still = [line.name for line in check.lines if line.note == "does not move"]
    if still:
        lines.append(f"  – does not move: {', '.join(still)}: its gradient is zero, or its learning rate")
    if zero := [line.name for line in check.lines if line.note == "starts at zero"]:
        lines.append(f"  – starts at zero, so that there is no initial gain to fit: {', '.join(zero)}")
    if check.unused:
        lines.append(f"  – the model does not use: {', '.join(check.unused)}")
    plan = next(iter(check.plans.values()))
    if plan.recipe == "sp" and check.verdict == "fail":
        lines.append("  sp scales nothing with the width: these failures are what the other recipes mend")
    return [f"{SIGNS[check.verdict]} {check.verdict}: {_total(check, len(judged), counts)}", *lines]


def _total(check: CoordinateCheck, judged: int, counts: dict[str, int]) -> str:
    if check.verdict == "pass":
        return (
            f"all {judged} quantities go with width as they should at the start of training. Weight decay shows only "
            "later: the steady-state check looks at it"
        )
    failed, undecided = counts["fail"], counts["undecided"]
    if not failed + undecided:
        return "a run diverged" if check.diverged else "nothing could be judged"
    if not failed:
        return f"{undecided} of {judged} quantities"
    return f"{failed} of {judged} quantities" + (f"; {undecided} undecided" if undecided else "")


def _divergence(check: CoordinateCheck) -> str:
    first = check.diverged[0]
    more = len(check.diverged) - 1
    others = f" (and {more} other run{'s' * (more > 1)})" if more else ""
    return (
        f"the loss was not finite at width {first.width}, seed {first.seed}, step {first.step}{others}: what failed "
        "above says where it comes from; if nothing did, lower the learning rate"
    )


def _mistake(check: CoordinateCheck, line: Line) -> str:
    if line.exponent is None:
        return f"{line.name}: its {line.quantity} is {line.note}"
    large = "large" if line.deviation > 0 else "small"
    found = (
        f"{line.name}: its {line.quantity} goes as width^{line.exponent:+.2f}, too {large} by "
        f"{half_steps(line.deviation)}"
    )
    first = next(iter(check.plans.values()))
    if line.path not in first:
        return (
            f"{found}; where head_dim grows, logits are divided by head_dim, not by its square root "
            "(sqrt(base_head_dim) / head_dim, or mupwd.apply_forward)"
        )
    planned = [plan[line.path] for plan in check.plans.values()]
    rule = rule_in_words(planned[0], first, line.quantity)
    if line.quantity == "change":
        factors = [f"learning rate × {_numbers(p.lr for p in planned)}"]
        if len({p.eps for p in planned}) > 1:
            factors.append(f"eps × {_numbers(p.eps for p in planned)}")
    elif planned[0].init is None:
        factors = ["the model's own initial values"]
    else:
        factors = [f"standard deviation × {_numbers(p.init for p in planned)}"]
    if len({p.forward for p in planned}) > 1:
        factors.append(f"forward × {_numbers(p.forward for p in planned)}")
    return f"{found}; {rule}. The plan has {', '.join(factors)}"


def _numbers(values: Iterable[float | None]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"


def _advice(check: CoordinateCheck, line: Line) -> str:
    if line.note:
        return (
            f"{line.name}: its {line.quantity} goes as width^{line.exponent:+.2f}, which may follow from what fails "
            "above: mend that first"
        )
    ways = []
    if (more := line.more_seeds) is not None:
        ways.append(f"{more} more seed{'s' * (more != 1)} (seeds={check.seeds + more})")
    if line.more_widths is not None:
        widths = list(check.plans)
        step = (widths[-1] / widths[0]) ** (1 / (len(widths) - 1))
        further = [round(widths[-1] * step**n) for n in range(1, line.more_widths + 1)]
        ways.append(
            f"{line.more_widths} more width{'s' * (len(further) != 1)} ({', '.join(map(str, further))})"
        )
    advice = " or ".join(ways) + " should decide" if ways else "it lies too near the border: try wider widths"
    return f"{line.name}: its {line.quantity} is undecided: {advice}"
