"""A plan as a table that a person reads."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mupwd.plan.errors import PlanError
from mupwd.plan.layers import shown, starred
from mupwd.scalars import as_float, check_number

if TYPE_CHECKING:
    from mupwd.plan.parameter import ParameterPlan
    from mupwd.plan.plan import Plan

WIDTH = 120
_GAP = "  "
_ROLES = ("input", "tied", "matrix", "narrow", "wide", "output", "vector", "scalar", "unused")
_NARROWEST_SHAPE = 18


class Row(NamedTuple):
    """Parameters of one role with the same shape and multipliers, told apart by layer numbers only."""

    name: str
    size: int
    first: ParameterPlan


class _Column(NamedTuple):
    title: str
    cell: Callable[[Row], str]
    left: bool = False


def table(plan: Plan, learning_rate: float | None, weight_decay: float | None) -> str:
    """Formats a plan; see `Plan.table`."""
    learning_rate = _given("learning_rate", learning_rate)
    weight_decay = _given("weight_decay", weight_decay)
    rows = grouped(plan)
    parts = [_header(plan), _multipliers(plan, rows)]
    if learning_rate is not None:
        parts.append(_numbers(rows, learning_rate, weight_decay))
    elif weight_decay is not None:
        parts.append("Give learning_rate as well: a step decays by learning rate * weight decay.")
    return "\n\n".join(parts)


def _given(name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        check_number(name, value)
    except (TypeError, ValueError) as error:
        raise PlanError(str(error)) from None
    return as_float(value)


def grouped(plan: Plan) -> list[Row]:
    """Returns the rows of a plan: by role, then in the order of the parameters."""
    groups: defaultdict[tuple[object, ...], list[ParameterPlan]] = defaultdict(list)
    for p in plan.values():
        numbers = (p.m_in, p.m_out, p.lr, p.wd, p.eps, p.init, p.forward)
        groups[(p.role, starred(p.path), p.base_shape, p.shape, *numbers)].append(p)
    rows = [
        Row(shown(starred(first.path) if len(members) > 1 else first.path), len(members), first)
        for members in groups.values()
        for first in members[:1]
    ]
    return sorted(rows, key=lambda row: _ROLES.index(row.first.role))


def number(value: float) -> str:
    """Returns a multiplier with four significant digits."""
    return f"{value:.4g}"


def shapes(base: Sequence[int], target: Sequence[int]) -> str:
    """Returns both shapes in one: axes that differ as "base→target".

    Example:
      >>> shapes((64, 2, 16), (256, 4, 16))
      '64→256, 2→4, 16'
    """
    return ", ".join(str(a) if a == b else f"{a}→{b}" for a, b in zip(base, target, strict=True)) or "scalar"


def elided(text: str, width: int) -> str:
    """Returns the text with its middle cut out where it is longer than width."""
    if len(text) <= width:
        return text
    tail = (width - 1) * 2 // 3
    return text[: width - 1 - tail] + "…" + (text[-tail:] if tail else "")


def _header(plan: Plan) -> str:
    widths = "" if plan.width is None or plan.base is None else f", width {plan.base} → {plan.width}"
    ratios = {
        "depth": plan.depth_ratio,
        "batch": plan.batch_ratio,
        "tokens": plan.token_ratio,
        "sequence length": plan.sequence_ratio,
    }
    others = "".join(f", {name} ×{ratio:g}" for name, ratio in ratios.items() if ratio != 1)
    untouched = plan.residual_scale == 1
    form = {
        "folded": "folded form: " + ("the model is untouched" if untouched else "no factor at the output"),
        "forward": 'forward form: the model multiplies by the factors in the column "forward"',
    }[plan.form]
    lines = [
        f"recipe {plan.recipe}{widths}{others}",
        form,
        "weight decay is coupled: a step decays by lr * wd * w",
    ]
    if plan.residual_scale != 1:
        lines.append(f"the model multiplies each residual branch by {number(plan.residual_scale)}")
    if plan.beta_ratio != 1:
        lines.append(f"1 - beta of both of Adam's moments is multiplied by {number(plan.beta_ratio)}")
    notices = [line for notice in plan.notices for line in textwrap.wrap(f"note: {notice}", WIDTH)]
    return "\n".join([*(elided(line, WIDTH) for line in lines), *notices])


def _multipliers(plan: Plan, rows: list[Row]) -> str:
    columns = [
        _Column("base→target", lambda r: shapes(r.first.base_shape, r.first.shape), left=True),
        _Column("m_in", lambda r: number(r.first.m_in)),
        _Column("m_out", lambda r: number(r.first.m_out)),
        _Column("lr ×", lambda r: number(r.first.lr)),
        _Column("wd ×", lambda r: _or_none(r.first.wd, number)),
        _Column("eps ×", lambda r: number(r.first.eps)),
        _Column("init ×", lambda r: "own" if r.first.init is None else number(r.first.init)),
    ]
    if plan.form == "forward":
        columns.append(_Column("forward", lambda r: number(r.first.forward)))
    return _aligned(rows, columns)


def _numbers(rows: list[Row], learning_rate: float, weight_decay: float | None) -> str:
    columns = [_Column("learning rate", lambda r: number(learning_rate * r.first.lr))]
    title = f"At the base: learning rate {number(learning_rate)}"
    if weight_decay is not None:
        title += (
            f", weight decay {number(weight_decay)} (coupled).\n"
            "The decay of a step is lr * wd, its timescale 1 / (lr * wd) steps."
        )

        def base(row: Row) -> float:
            return learning_rate * weight_decay if row.first.wd else 0.0

        def target(row: Row) -> float:
            return learning_rate * row.first.lr * weight_decay * row.first.wd

        columns += [
            _Column("weight decay", lambda r: _or_none(weight_decay * r.first.wd, number)),
            _Column("lr*wd base", lambda r: _or_none(base(r), number)),
            _Column("target", lambda r: _or_none(target(r), number)),
            _Column("steps base", lambda r: _or_none(base(r), _timescale)),
            _Column("target", lambda r: _or_none(target(r), _timescale)),
        ]
    return title + "\n\n" + _aligned(rows, columns)


def _or_none(value: float, text: Callable[[float], str]) -> str:
    return text(value) if value else "none"


def _timescale(decay_per_step: float) -> str:
    steps = 1 / decay_per_step
    return f"{steps:,.0f}" if 10 <= steps < 1e7 else number(steps)


def _aligned(rows: list[Row], columns: list[_Column]) -> str:
    """Lays rows out below titles; paths and shapes give way, so that a line has at most WIDTH columns."""
    cells = [[column.cell(row) for row in rows] for column in columns]
    widths = [
        max([len(column.title), *map(len, texts)]) for column, texts in zip(columns, cells, strict=True)
    ]
    counts = [f"×{row.size}" if row.size > 1 else "" for row in rows]
    count_width = max([0, *map(len, counts)])
    # The role is an indented heading; the rest of the line is the path's.
    free = WIDTH - count_width - sum(widths) - len(_GAP) * (len(widths) + 2)
    longest = max([len("parameter"), *(len(row.name) for row in rows)])
    path_width = min(longest, free)
    for i, column in enumerate(columns):
        if column.left and path_width < longest:
            # Two long texts share the room evenly, but a short one takes no more than it needs.
            room = free + widths[i]
            widths[i] = min(widths[i], max(_NARROWEST_SHAPE, room // 2, room - longest))
            path_width = min(longest, room - widths[i])

    def line(indent: str, name: str, count: str, texts: Sequence[str]) -> str:
        parts = [f"{indent}{elided(name, path_width):<{path_width}}", f"{count:>{count_width}}"]
        for column, width, text in zip(columns, widths, texts, strict=True):
            parts.append(f"{elided(text, width):<{width}}" if column.left else f"{text:>{width}}")
        return _GAP.join(parts).rstrip()

    lines = [line(_GAP, "parameter", "", [column.title for column in columns])]
    role = None
    for i, row in enumerate(rows):
        if row.first.role != role:
            role = row.first.role
            lines.append(role)
        lines.append(line(_GAP, row.name, counts[i], [texts[i] for texts in cells]))
    return "\n".join(lines)
