"""Where parameters meet activations: writes down what each use makes of their axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mupwd.tracing.jaxprs import source_place
from mupwd.tracing.values import Label, Location, Mark, Record, Size, Term, Use, Value, grows, label_axis


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One equation: where uses are met."""

    primitive: str
    source: str
    location: Location
    record: Record
    names: tuple[str, ...]  # of the parameters
    delta_params: Mapping[str, Any]  # of the same equation at the second width
    operands: tuple[int, ...] = ()  # that are functions of parameters, where there may be several
    written: Any = (
        None  # the equation that has the source line, where there is one: this one, or the call around it
    )

    def add(self, slot: int, term: Term, marks: Sequence[Mark], kind: Any, **facts: Any) -> Any:
        key = (self.location, slot, term.param, kind)
        problem = term.problem
        if term.statistic:
            problem = problem or "is reduced before it meets data"
        self.record.uses[key] = Use(
            term.param,
            self.primitive,
            self.source,
            self.location,
            self.operands or (slot,),
            term.marks + tuple(marks),
            kind,
            ratio=term.ratio,
            problem=problem,
            **facts,
        )
        return key

    @property
    def place(self) -> str:
        """Where on the source line it is written."""
        return "" if self.written is None else source_place(self.written)

    def readouts(self, keys: Iterable[Any]) -> frozenset[Any]:
        return frozenset(key for key in keys if self.record.uses[key].joint_readout)

    def refuse(self, values: Iterable[Value], dims: tuple[Size, ...], problem: str) -> Value:
        """An activation, with every parameter in `values` noted as not understood."""
        values = list(values)
        for slot, value in enumerate(values):
            for term in value.terms:
                if not value.pending:
                    self.add(slot, replace(term, problem=term.problem or problem), (), "refused")
        return activation([settle(self, v) if v.pending else v.settled() for v in values], dims)


def activation(values: Iterable[Value], dims: tuple[Size, ...]) -> Value:
    """An activation that depends on `values` in a way that decides nothing about their parameters."""
    values = list(values)
    origins: frozenset[Any] = frozenset()
    for value in values:
        origins |= value.origins
    return Value(
        dims,
        data=any(v.data or v.terms for v in values),
        origins=origins,
        grown=any(v.grown or v.any_growth for v in values),
    )


def contract(
    site: Site, slot: int, value: Value, labels: Mapping[int, Label], other: Value, **facts: Any
) -> list[Any]:
    """Notes that an activation is contracted with the parameters of `value`; one key per term."""
    keys = []
    outer = value.terms and all(term.joint and _stretched(term) for term in value.terms)
    for term in value.terms:
        if outer:
            names = ", ".join(sorted(site.names[t.param] for t in value.terms if t is not term))
            problem = f"is half of an outer product with a parameter ({names}) before it meets data"
            term = replace(term, problem=term.problem or problem)
        marks: list[Mark] = []
        # A parameter that was stretched along some axis of a product of parameters is a scale of the others.
        scales = term.joint and _stretched(term)
        for axis, atoms in enumerate(term.axes):
            for mark in label_axis(atoms, labels[axis]):
                marks.append(mark._replace(label="elementwise") if scales else mark)
        if value.pending == "product":
            free = {a.axis for a in term.atoms() if a.free}
            marks = [
                m._replace(label="out") if m.axis in free and m.label == "elementwise" else m for m in marks
            ]
        keys.append(
            site.add(
                slot,
                term,
                marks,
                "product" if scales else "contraction",
                fed_by_data=not (other.grown or other.any_growth),
                group=value.group.location if value.group else None,
                group_operands=value.group.operands if value.group else (),
                **facts,
            )
        )
    return keys


def settle(site: Site, value: Value, summed: Sequence[int] = ()) -> Value:
    """Decides pending terms as what they are where nothing sums over them, and returns the activation.

    `summed`: axes that an activation is contracted with.
    """
    if not value.pending:
        return value
    origin = replace(value.group, record=site.record)
    for term in value.terms:
        if term.statistic and not value.dims:
            continue  # a regulariser times its coefficient
        if problem := _two_readings(value, term, summed):
            term = replace(term, problem=term.problem or problem)
        marks = []
        for atoms in term.axes:
            own = [a for a in atoms if a.axis is not None]
            for atom, mark in zip(own, label_axis(atoms, "elementwise"), strict=True):
                row = value.pending == "lookup" or atom.free
                marks.append(mark._replace(label="out") if row else mark)
        fed_by_data = value.pending == "lookup" or not value.grown
        origin.add(0, term, marks, value.pending, fed_by_data=fed_by_data, group=origin.location)
    return value.settled()


def meet(site: Site, value: Value, kind: Any, companion: Value, slot: int = 0) -> list[Any]:
    """Notes that parameters are added to, joined with, or otherwise combined elementwise with an activation."""
    keys = []
    norm = not companion.any_growth and all(term.statistic and not term.atoms() for term in value.terms)
    for term in value.terms:
        if norm and kind == "sum":
            continue  # a regulariser: a norm added to a loss is no use of the parameter
        marks, sample = [], False
        for axis, atoms in enumerate(term.axes):
            found = label_axis(atoms, "elementwise")
            sample |= bool(found) and axis < len(companion.tags) and companion.tag(axis).sample
            marks += found
        keys.append(site.add(slot, term, marks, kind, fed_by_data=not companion.grown, sample=sample))
    return keys


def _stretched(term: Term) -> bool:
    """Whether it is repeated along an axis that is not its own."""
    return any(a.axis is None for axis in term.axes for a in axis)


def _two_readings(value: Value, term: Term, summed: Sequence[int]) -> str | None:
    """Why a product of a parameter with data may be a weight that data modulates, rather than a gain on data."""
    atoms = [a for a in term.atoms() if a.size != (1, 1)]
    if value.pending != "product" or not any(grows(a.size) for a in atoms):
        return None
    if not _stretched(term) and len(atoms) > 1 and all(a.free for a in atoms):
        return "is multiplied by one number that depends on data, as a weight is that data modulates"
    if not _stretched(term) and len({a.axis for a in atoms if grows(a.size)}) > 1:
        return "is multiplied by data of its own shape, as a weight is that data masks"
    inner = [a for i in summed for a in term.axes[i] if a.axis is not None and a.size != (1, 1)]
    outer = [a for i, axis in enumerate(term.axes) if i not in summed for a in axis if a.axis is not None]
    if inner and (
        not _stretched(term)
        or any(a.free and grows(a.size) for a in outer)
        or (any(grows(a.size) for a in inner) and any(grows(a.size) for a in outer))
    ):
        return (
            "is multiplied by data and then contracted with data: a weight that is masked or modulated, or a gain "
            "on one of two activations"
        )
    return None
