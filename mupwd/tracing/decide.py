"""From the uses of a parameter to its role."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mupwd.tracing.errors import TraceError
from mupwd.tracing.roles import Logits, Parameter, Role
from mupwd.tracing.values import Record, Size, Use, grows
from mupwd.tracing.words import axis_pieces, axis_words, described, refusal

_ROUNDED = 0.02  # of exponents, whose constants may be rounded to bfloat16
_VECTOR_LIKE = ("vector", "input", "wide")


@dataclass(frozen=True)
class Shapes:
    """A parameter's sizes at the two widths, and its dtype."""

    dims: tuple[Size, ...]
    dtype: str


@dataclass(frozen=True)
class _Reading:
    """What one use says."""

    role: Role
    axes: tuple[str, ...]
    exponent: float
    use: Use
    pieces: tuple[int, ...]


def decide(
    shapes: Mapping[str, Shapes],
    record: Record,
    stated: Mapping[str, Parameter],
    width_ratio: float,
    by_metadata: Mapping[str, Callable[[], Parameter]] | None = None,
) -> dict[str, Parameter]:
    """Returns every parameter with its role.

    Args:
      shapes: sizes of each parameter at the two widths, in the order in which the walk numbered them.
      record: what the walk found.
      stated: parameters whose role an override gives; the walk's opinion on them is not asked.
      width_ratio: second width over the first.
      by_metadata: parameters that the model's own metadata describes: what it says of one is asked where the walk does
        not decide.

    Raises:
      TraceError: a parameter's uses do not decide its role, or contradict each other.
    """
    known = by_metadata or {}
    if record.constants:
        where = "; ".join(sorted(set(record.constants.values())))
        raise TraceError(
            f"an activation meets a constant that depends on the width, and it is not a scale of any one "
            f"parameter's product: {where}. Such a constant changes what transfers: write it as a parameter-free "
            "normalisation (a mean over the axis), move it next to the weight that it scales, or fix it at the "
            "base width's value"
        )
    by_parameter: list[list[tuple[object, Use]]] = [[] for _ in shapes]
    for key, use in record.uses.items():
        by_parameter[use.param].append((key, use))
    result = {}
    for (path, shape), found in zip(shapes.items(), by_parameter, strict=True):
        if path in stated:
            result[path] = stated[path]
            continue
        try:
            result[path] = _parameter(path, shape, found, record, width_ratio)
        except TraceError:
            if path not in known:
                raise
            result[path] = known[path]()
    return result


def _parameter(
    path: str, shape: Shapes, found: list[tuple[object, Use]], record: Record, width_ratio: float
) -> Parameter:
    found = deciding(found, record)
    base = tuple(size[0] for size in shape.dims)
    growing = tuple(map(grows, shape.dims))
    if not found:
        return Parameter(path, "unused", base, shape.dtype, ("unused",) * len(base), growing)

    readings = []
    _check_rows(path, found, len(base))
    for key, use in found:
        ratio = use.ratio * scaled_by(key, record)
        problem = use.problem
        if math.isnan(ratio):
            problem = problem or "is scaled with the width on one path and not on another"
        role, reason = _role(use, met=key in record.met)
        if problem or role is None:
            raise refusal(path, problem or reason, use, len(base))
        exponent = _exponent(path, ratio, role, use, len(base), width_ratio)
        words = axis_words(len(base), key, use, record)
        readings.append(_Reading(role, words, exponent, use, axis_pieces(words, key, use, record)))
    reading, lookup_exponent = _merged(path, readings, len(base))
    inside = [inside_branch(use, record) for _, use in found]
    return Parameter(
        path,
        reading.role,
        base,
        shape.dtype,
        reading.axes,
        growing,
        scale_exponent=reading.exponent,
        residual=all(inside),
        uses=tuple(dict.fromkeys(described(r.use, r.axes) for r in readings)),
        lookup_scale_exponent=lookup_exponent,
        pieces=reading.pieces if max(reading.pieces, default=1) > 1 else (),
    )


def deciding(found: list[tuple[object, Use]], record: Record) -> list[tuple[object, Use]]:
    """The uses that say something: a mean that a norm subtracts, or a parameter in a log, does not."""
    others = [(key, use) for key, use in found if use.kind != "result"]
    strong = {use.group for _, use in others if not use.weak and use.group is not None}
    kept = [
        (key, use)
        for key, use in others
        if not (use.weak and use.group in strong and (use.total or key in record.met))
    ]
    return kept if others else found


def _check_rows(path: str, found: list[tuple[object, Use]], ndim: int) -> None:
    """Rows of one lookup are an activation or weights, not both."""
    rows = {use.group for _, use in found if use.kind == "lookup"}
    for _, use in found:
        if use.kind == "contraction" and use.group is not None and use.group in rows and not use.weak:
            reason = "has rows that are contracted with an activation and used as an activation as well"
            raise refusal(path, reason, use, ndim)


def scaled_by(owner: object, record: Record) -> float:
    """How much more the program scales a use's or a product's result at the second width; NaN: on one path only."""
    own = {
        entry: ratio
        for entry, ratio in record.scales.items()
        if entry[1] == owner and entry not in record.claimed
    }
    return math.nan if own.keys() & record.partial else math.prod(own.values())


def inside_branch(use: Use, record: Record) -> bool:
    """Whether a use lies in a residual branch."""
    places = {use.location[:n] for n in range(1, len(use.location) + 1)}
    return any(not places.isdisjoint(branch.equations) for branch in record.branches.values())


def logits(record: Record) -> tuple[Logits, ...]:
    """Returns the products of activations over an axis that grows, each place of the program once.

    Raises:
      TraceError: one is scaled by a constant that is no power of its size.
    """
    found: dict[Logits, None] = {}
    sizes: dict[tuple[str, str, str], set[Size]] = {}
    for location, product in record.products.items():
        sizes.setdefault(product.where, set()).add(product.size)
        if not grows(product.size):
            continue
        ratio = product.ratio * scaled_by(location, record)
        exponent = math.log(ratio) / math.log(product.size[1] / product.size[0])
        snapped = round(2 * exponent) / 2
        if not math.isclose(exponent, snapped, abs_tol=_ROUNDED):
            raise TraceError(
                f"two activations are contracted at {product.source} over an axis that grows, {product.size[0]} to "
                f"{product.size[1]} (head_dim, where these are attention's logits), and scaled by ×{ratio:g}, which "
                "is no power of its size; scale by sqrt(base_head_dim) / head_dim, which equals 1 / sqrt(head_dim) "
                "at the base, or keep head_dim fixed"
            )
        found[Logits(*product.where, product.size[0], snapped)] = None
    times = Counter(one.where for one in found)
    return tuple(replace(one, mixed=len(sizes[one.where]) > 1 or times[one.where] > 1) for one in found)


def _role(use: Use, *, met: bool) -> tuple[Role | None, str]:
    """The role that one use gives, or None and the reason why it gives none."""

    def any_growing(label: str) -> bool:
        return any(mark.label == label and mark.grows for mark in use.marks)

    def any_of(label: str) -> bool:
        return any(mark.label == label and mark.size != (1, 1) for mark in use.marks)

    both = {m.axis for m in use.marks if m.label == "in" and m.grows} & {
        m.axis for m in use.marks if m.label == "out" and m.grows
    }
    if both:
        return (
            None,
            f"is cut along axis {min(both)} into pieces, or merged, so that the axis is both in and out",
        )
    if use.kind == "result" and any(mark.grows for mark in use.marks):
        return None, "is returned without having met data, though it grows"
    if any_growing("lookup") or any_growing("stack"):
        return None, "is indexed along an axis that grows (another vocabulary, growing experts or layers)"
    if any_growing("batch"):
        if any_of("in") and any_of("out"):
            return None, "enumerates copies (experts, heads, groups) whose number grows with the width"
        if any_growing("in"):
            return None, "is summed over one growing axis for every position of another"
        return "vector", ""
    if len({m.axis for m in use.marks if m.label == "out" and m.grows}) > 1:
        return None, "keeps several axes that grow, as kernels that data mixes do"
    if any_growing("in") and any_growing("out"):
        return "matrix", ""
    if any_growing("in"):
        if any_growing("elementwise"):
            return None, "is summed over one growing axis for every position of another"
        return ("narrow" if met else "output"), ""
    if any_growing("out"):
        return ("input" if use.fed_by_data else "wide"), ""
    if any_growing("elementwise"):
        table = use.sample or use.kind == "join" or any_of("lookup")
        return ("input" if table and use.kind in ("sum", "join") else "vector"), ""
    return "scalar", ""


def _exponent(path: str, ratio: float, role: Role, use: Use, ndim: int, width_ratio: float) -> float:
    """s in `m**s`, where m is the ratio that the rule of the role counts; the width's own for a scalar."""
    if ratio == 1.0:
        return 0.0
    counted = ("in",) if role in ("matrix", "narrow", "output") else ("out", "elementwise", "batch")
    m = math.prod(mark.size[1] / mark.size[0] for mark in use.marks if mark.label in counted)
    m = m if m > 1 else width_ratio
    exponent = math.log(ratio) / math.log(m)
    snapped = round(2 * exponent) / 2
    if not math.isclose(exponent, snapped, abs_tol=_ROUNDED):
        reason = (
            f"is scaled by a constant that grows ×{ratio:g} while its own axes grow ×{m:g}: not a power of the "
            "width that is a multiple of 1/2"
        )
        raise refusal(path, reason, use, ndim)
    return snapped


def _merged(path: str, readings: list[_Reading], ndim: int) -> tuple[_Reading, float]:
    first = readings[0]
    roles = {reading.role for reading in readings}
    exponents = {reading.exponent for reading in readings}
    if roles == {"input", "output"}:
        inputs = [r for r in readings if r.role == "input"]
        outputs = [r for r in readings if r.role == "output"]
        if len({r.exponent for r in inputs}) == 1 and len({r.exponent for r in outputs}) == 1:
            reading = replace(inputs[0], role="tied", exponent=outputs[0].exponent)
            return reading, inputs[0].exponent
    elif len(exponents) == 1:
        if len({(r.role, _growing_words(r)) for r in readings}) == 1:
            return first, 0.0
        for role in ("wide", "input", "vector"):
            if roles <= set(_VECTOR_LIKE) and role in roles:
                return next(r for r in readings if r.role == role), 0.0
    uses = "; ".join(dict.fromkeys(f"{r.role} ({described(r.use, r.axes)})" for r in readings))
    extra = ""
    if len(exponents) > 1:
        extra = " and is scaled by different powers of the width"
    raise refusal(path, f"has uses that give it different roles{extra}: {uses}", first.use, ndim)


def _growing_words(reading: _Reading) -> tuple[tuple[int, str], ...]:
    """Labels of the axes that grow: where uses must agree."""
    growing = {m.axis for m in reading.use.marks if m.grows}
    return tuple((i, w.replace("stack+", "")) for i, w in enumerate(reading.axes) if i in growing)
