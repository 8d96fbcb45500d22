"""What the walk knows of a value: which parameters it is linear in, and what its axes are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

Size = tuple[int, int]  # of one axis, at the two widths
Location = tuple[int | str, ...]  # of an equation: its index in each of the nested jaxprs
Label = Literal["in", "out", "batch", "lookup", "stack", "elementwise"]


def grows(size: Size) -> bool:
    return size[0] != size[1]


def product(sizes: Any) -> Size:
    base = delta = 1
    for size in sizes:
        base, delta = base * size[0], delta * size[1]
    return base, delta


class Atom(NamedTuple):
    """A piece of one parameter's axis; `axis` is None for an axis of the value that is not the parameter's."""

    axis: int | None
    size: Size
    free: bool = False  # data that it multiplies elementwise is constant along it: an outer product


class Mark(NamedTuple):
    """What became of an atom."""

    axis: int
    label: Label
    size: Size

    @property
    def grows(self) -> bool:
        return grows(self.size)


@dataclass(frozen=True, slots=True)
class Term:
    """One parameter inside a value, with the atoms that each axis of the value is made of."""

    param: int
    axes: tuple[tuple[Atom, ...], ...]
    marks: tuple[Mark, ...] = ()  # atoms that were consumed on the way: indexed, scanned over
    ratio: float = 1.0  # how much more the program scales it at the second width
    joint: bool = False  # multiplied with other parameters before it met data
    statistic: bool = False  # reduced: a norm, a maximum
    problem: str | None = None

    def atoms(self) -> list[Atom]:
        return [atom for axis in self.axes for atom in axis if atom.axis is not None]

    def marked(self, *new: Mark) -> Term:
        return replace(self, marks=self.marks + new)


class Tag(NamedTuple):
    """What is known of one axis of an activation."""

    uniform: bool = False  # constant along it
    sample: bool = False  # an axis of the inputs: batch, time
    bilinear: bool = (
        False  # along it two activations were multiplied, as a product of matrices does before it sums
    )
    # (use, axis of its parameter, whether this is the whole of that axis)
    copies: tuple[tuple[Any, int, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the program.

    Without terms and with `data` false it is a constant; with terms and `data` false a function of parameters
    alone; with both, `pending` says how it got there and the parameter's use is not yet decided: rows that
    were looked up, or a product with an activation that may yet be summed.
    """

    dims: tuple[Size, ...]
    terms: tuple[Term, ...] = ()
    data: bool = False
    pending: Literal["lookup", "product"] | None = None
    group: Any = None  # the site where the pending terms arose
    tail: frozenset[Any] = frozenset()  # uses that it is still linear in
    factors: frozenset[Any] = frozenset()  # uses that the factors of a product of entries are linear in
    product: Location | None = None  # the product of activations that it is a multiple of
    origins: frozenset[Any] = frozenset()  # uses as readout that it depends on
    grown: bool = False  # depends on something that grows
    reduced: bool = False  # a statistic over a growing axis: its constants may depend on width
    tags: tuple[Tag, ...] = ()
    constant: Size | tuple[float, float] | None = None  # its number at the two widths, where known
    varies: bool = False  # a constant that may depend on the width in a way that is not known

    @property
    def parametric(self) -> bool:
        return bool(self.terms) and not self.data

    @property
    def any_growth(self) -> bool:
        return any(map(grows, self.dims))

    def tag(self, axis: int) -> Tag:
        return self.tags[axis] if self.tags else Tag()

    def settled(self) -> Value:
        """The value with its pending terms decided, as an activation."""
        return replace(self, terms=(), pending=None, group=None)


@dataclass(slots=True)
class Use:
    """One use of a parameter by the program."""

    param: int
    primitive: str
    source: str
    location: Location
    operands: tuple[int, ...]  # of the equation there: those that the parameter is in
    marks: tuple[Mark, ...]
    kind: Literal["contraction", "product", "sum", "join", "lookup", "result", "refused"]
    fed_by_data: bool = True  # the activation it meets depends on nothing that grows
    sample: bool = False  # lies along an axis of the inputs, as a position table does
    group: Any = None  # where the product or the lookup arose that this is a use of
    group_operands: tuple[int, ...] = ()
    weak: bool = False  # a sum of its product, which may be no more than a statistic of it
    total: bool = False  # a sum over everything
    ratio: float = 1.0
    problem: str | None = None

    @property
    def joint_readout(self) -> bool:
        """Sums over a growing axis and keeps none: an output, or narrow."""
        kept = any(mark.grows for mark in self.marks if mark.label in ("out", "batch", "elementwise"))
        return not kept and any(mark.grows for mark in self.marks if mark.label == "in")


class Branch(NamedTuple):
    """A residual branch: which operand of the sum it is, and the equations inside."""

    operand: int
    equations: frozenset[Location]


class Product(NamedTuple):
    """Two activations contracted with each other, as attention's logits are over head_dim."""

    source: str
    place: str  # on that line
    axes: str
    size: Size
    ratio: float = 1.0  # how much more the program scales it at the second width

    @property
    def where(self) -> tuple[str, str, str]:
        """What it is known by in a program of another width."""
        return self.source, self.place, self.axes


@dataclass
class Record:
    """All that a walk finds out."""

    uses: dict[Any, Use] = field(default_factory=dict)
    met: set[Any] = field(default_factory=set)  # readouts whose result meets a growing axis
    # (use, axis, whether all of it or its leading part) -> into how many equal parts its result is cut; 0: unequal
    slices: dict[tuple[Any, int, bool], set[int]] = field(default_factory=dict)
    branches: dict[Location, Branch] = field(default_factory=dict)  # by the sum that ends them
    products: dict[Location, Product] = field(default_factory=dict)  # of activations
    multiples: dict[Location, Location] = field(default_factory=dict)  # product -> the last scale of it
    # (equation, result): functions of parameters, alone or in a product or lookup that is not yet used
    functions: set[tuple[Location, int]] = field(default_factory=set)
    # (scan, parameter): each step has an entry of its own of the parameter
    layers: set[tuple[Location, int]] = field(default_factory=set)
    # (equation, use) -> how much more it scales the use's result at the second width
    scales: dict[tuple[Location, Any], float] = field(default_factory=dict)
    partial: set[tuple[Location, Any]] = field(default_factory=set)  # scales of one path of several
    claimed: set[tuple[Location, Any]] = field(
        default_factory=set
    )  # scales that are a product's, not a use's
    constants: dict[Location, str] = field(default_factory=dict)  # width-dependent, of no known use
    outer: Record | None = None  # of the program around a loop's body
    loop: Location | None = None  # whose body it is of

    def absorb(self, other: Record) -> None:
        self.uses |= other.uses
        self.met |= other.met
        self.branches |= other.branches
        self.products |= other.products
        self.multiples |= other.multiples
        self.functions |= other.functions
        self.layers |= other.layers
        for key, parts in other.slices.items():
            self.slices.setdefault(key, set()).update(parts)
        self.scales |= other.scales
        self.partial |= other.partial
        self.claimed |= other.claimed
        self.constants |= other.constants


def fresh_term(param: int, dims: tuple[Size, ...]) -> Term:
    return Term(param, tuple((Atom(i, size),) for i, size in enumerate(dims)))


def anonymous(size: Size) -> tuple[Atom, ...]:
    return () if size == (1, 1) else (Atom(None, size),)


def label_axis(atoms: tuple[Atom, ...], label: Label) -> list[Mark]:
    """Marks of all the parameter's atoms on one axis of a value."""
    return [Mark(a.axis, label, a.size) for a in atoms if a.axis is not None]


def resized(atoms: tuple[Atom, ...], old: Size, new: Size) -> tuple[Atom, ...]:
    """Atoms of an axis of which a part was taken.

    The part's own size is what it contributes, however much of other things it is joined with later.
    """
    if old == new:
        return atoms
    own = [a for a in atoms if a.axis is not None]
    if not own:
        return anonymous(new)
    if len(own) == 1 or not grows(new):
        return (own[0]._replace(size=new), *(a._replace(size=(1, 1)) for a in own[1:]))
    return tuple(own)
