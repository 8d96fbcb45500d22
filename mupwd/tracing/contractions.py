"""Operations that sum over axes: products of matrices, convolutions, reductions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mupwd.tracing.uses import Site, activation, contract, settle
from mupwd.tracing.values import Label, Product, Size, Tag, Term, Value, anonymous, grows, product

Axes = Sequence[int]


def dot(
    site: Site,
    lhs: Value,
    rhs: Value,
    contracting: Sequence[Axes],
    batch: Sequence[Axes],
    dims: tuple[Size, ...],
    *,
    same: bool = False,
) -> Value:
    """dot_general: axes are (those of lhs, those of rhs); the result is (batch, free of lhs, free of rhs).

    `same`: both sides are one value, whose norm this is.
    """
    sides = []
    for value, other, c, b in ((lhs, rhs, contracting[0], batch[0]), (rhs, lhs, contracting[1], batch[1])):
        free = [i for i in range(len(value.dims)) if i not in c and i not in b]
        sides.append((value, other, list(c), list(b), free))

    if not lhs.data and not rhs.data:
        if lhs.terms and rhs.terms:
            return _parameters_with_parameters(site, sides, dims)
        return _parameters_with_constant(site, sides, dims)

    keys: dict[int, list] = {}
    settled = []
    for side, (value, other, c, b, _) in enumerate(sides):
        labels: dict[int, Label] = dict.fromkeys(range(len(value.dims)), "out")
        labels |= dict.fromkeys(c, "in") | dict.fromkeys(b, "batch")
        if value.parametric or (value.pending == "lookup" and other.data and not other.terms):
            keys[side] = contract(site, side, value, labels, other)
        else:
            if value.pending == other.pending == "lookup":
                value = _rows_with_rows(value, c)
            value = settle(site, value, c if other.data else ())
        settled.append(value)

    tags = [_merged_tag(lhs.tag(i), rhs.tag(j)) for i, j in zip(*batch, strict=True)]
    for side, (value, _, _, _, free) in enumerate(sides):
        parametric = side in keys and value.parametric
        tags += [_result_tag(value, i, keys.get(side, []) if parametric else None) for i in free]
    all_keys = frozenset(key for found in keys.values() for key in found)
    size = product(lhs.dims[i] for i in contracting[0])
    of_activations = not keys and not same and lhs.data and rhs.data
    if of_activations:
        site.record.products[site.location] = Product(
            site.source,
            site.place,
            str((contracting, batch)),
            size,
            _claimed_scales(site, lhs.tail | rhs.tail) if grows(size) else 1.0,
        )
    return Value(
        dims,
        data=True,
        product=site.location if of_activations else None,
        tail=all_keys,
        origins=lhs.origins | rhs.origins | site.readouts(all_keys),
        grown=lhs.grown or rhs.grown or lhs.any_growth or rhs.any_growth,
        reduced=not keys and grows(size),
        tags=tuple(tags),
    )


def _rows_with_rows(value: Value, contracting: list[int]) -> Value:
    """Rows contracted with rows of another lookup: embeddings both, or one of them a readout."""
    problem = "has rows that are contracted with rows of another lookup: an input, or a readout"
    summed = [any(grows(a.size) for i in contracting for a in t.axes[i]) for t in value.terms]
    terms = zip(value.terms, summed, strict=True)
    return replace(value, terms=tuple(replace(t, problem=t.problem or problem) if s else t for t, s in terms))


def _claimed_scales(site: Site, keys: frozenset) -> float:
    """What scaled the factors of a product scales the product, and not the parameters behind them."""
    ratio, record = 1.0, site.record
    while record is not None:
        for entry, factor in record.scales.items():
            if entry[1] in keys:
                ratio *= factor
                site.record.claimed.add(entry)
        record = record.outer
    return ratio


def convolve(site: Site, lhs: Value, rhs: Value, params: Mapping, dims: tuple[Size, ...]) -> Value:
    """conv_general_dilated with a parameter as its kernel."""
    if lhs.terms and not lhs.data:
        return site.refuse((lhs, rhs), dims, "is the input, not the kernel, of a convolution")
    numbers = params["dimension_numbers"]
    out_axis, in_axis, *spatial = numbers.rhs_spec
    if rhs.parametric and params["batch_group_count"] != 1:
        return site.refuse((lhs, rhs), dims, "is in a convolution over groups of the batch")
    if rhs.data:  # kernels that data makes
        return activation([settle(site, lhs), settle(site, rhs, (in_axis, *spatial))], dims)
    value = rhs
    labels: dict[int, Label] = dict.fromkeys((in_axis, *spatial), "in")
    labels[out_axis] = "out"
    groups = (params["feature_group_count"], site.delta_params["feature_group_count"])
    if rhs.parametric and groups != (1, 1):
        # Output features enumerate (group, feature of the group); the groups are copies.
        out = rhs.dims[out_axis]
        per_group = (out[0] // groups[0], out[1] // groups[1])
        value = replace(
            rhs, terms=tuple(_split_groups(term, out_axis, groups, per_group) for term in rhs.terms)
        )
        sizes = [*rhs.dims, per_group]
        sizes[out_axis] = groups
        value = replace(value, dims=tuple(sizes))
        labels[out_axis], labels[len(rhs.dims)] = "batch", "out"
    keys = contract(site, 1, value, labels, lhs) if rhs.parametric else []
    lhs = settle(site, lhs)
    tags = [Tag()] * len(dims)
    for where, axis in zip(numbers.out_spec, numbers.lhs_spec, strict=True):
        tags[where] = lhs.tag(axis)._replace(copies=())
    tags[numbers.out_spec[1]] = _result_tag(rhs, out_axis, keys if groups == (1, 1) else [])
    return Value(
        dims,
        data=True,
        tail=frozenset(keys),
        origins=lhs.origins | rhs.origins | site.readouts(keys),
        grown=lhs.grown or rhs.grown or lhs.any_growth or rhs.any_growth,
        tags=tuple(tags),
    )


def reduce(site: Site, value: Value, axes: Axes, dims: tuple[Size, ...], *, linear: bool) -> Value:
    """Sums (`linear`) and other reductions over axes that the result does not have."""
    kept = [i for i in range(len(value.dims)) if i not in axes]
    touched = any(a.axis is not None for t in value.terms for i in axes for a in t.axes[i])
    over_growth = any(grows(value.dims[i]) for i in axes)
    if value.pending and touched and linear:
        labels: dict[int, Label] = {i: "in" if i in axes else "elementwise" for i in range(len(value.dims))}
        keys = contract(site, 0, value, labels, value.settled(), weak=True, total=not dims)
        return replace(
            _plain(site, value, kept, dims),
            tail=frozenset(keys),
            origins=value.origins | site.readouts(keys),
            reduced=over_growth,
        )
    if value.pending and (touched or not linear):
        value = settle(site, value)
    # A product of matrices may be written as a product of entries that is then summed.
    bilinear = linear and value.data and any(value.tag(i).bilinear for i in axes)
    if bilinear:
        size = product(value.dims[i] for i in axes)
        site.record.products[site.location] = Product(
            site.source,
            site.place,
            str(tuple(axes)),
            size,
            _claimed_scales(site, value.factors) if over_growth else 1.0,
        )
    terms = tuple(
        replace(
            term,
            axes=tuple(term.axes[i] for i in kept),
            statistic=term.statistic or any(a.axis is not None for i in axes for a in term.axes[i]),
        )
        for term in value.terms
    )
    return replace(
        value,
        dims=dims,
        terms=terms,
        # What follows a mean is the mean's own 1/size, not a scale of the product before it.
        tail=value.tail if linear and not over_growth else frozenset(),
        product=site.location if bilinear else None if over_growth or not linear else value.product,
        reduced=value.reduced or over_growth,
        tags=tuple(value.tag(i) for i in kept) if value.data else (),
        constant=None,
    )


def _plain(site: Site, value: Value, kept: list[int], dims: tuple[Size, ...]) -> Value:
    return Value(
        dims,
        data=True,
        origins=value.origins,
        grown=value.grown or value.any_growth,
        tags=tuple(value.tag(i) for i in kept),
    )


def _split_groups(term: Term, axis: int, groups: Size, per_group: Size) -> Term:
    atoms = term.axes[axis]
    if len(atoms) != 1:
        return replace(term, axes=(*term.axes, atoms))
    axes = list(term.axes)
    axes[axis] = (atoms[0]._replace(size=groups),)
    return replace(term, axes=(*axes, (atoms[0]._replace(size=per_group),)))


def _parameters_with_parameters(site: Site, sides, dims: tuple[Size, ...]) -> Value:
    """A norm, where all is one parameter; else a product whose factors have no role of their own."""
    params = {term.param for value, *_ in sides for term in value.terms}
    terms: list[Term] = []
    n_batch = len(sides[0][3])
    offset = n_batch
    for value, _, contracting, batch, free in sides:
        for term in value.terms:
            axes = [anonymous(size) for size in dims]
            for place, i in enumerate(batch):
                axes[place] = term.axes[i]
            for place, i in enumerate(free):
                axes[offset + place] = term.axes[i]
            reduced = any(a.axis is not None for i in contracting for a in term.axes[i])
            problem = term.problem
            if len(params) > 1:
                names = ", ".join(sorted(site.names[p] for p in params - {term.param}))
                problem = problem or f"is contracted with a parameter ({names}) before it meets data"
            statistic = term.statistic or (reduced and len(params) == 1)
            terms.append(replace(term, axes=tuple(axes), statistic=statistic, problem=problem))
        offset += len(free)
    return Value(dims, tuple(terms))


def _parameters_with_constant(site: Site, sides, dims: tuple[Size, ...]) -> Value:
    """A fixed linear map (a rotation, an average): each axis that it replaces stays the parameter's axis."""
    (value, _, contracting, batch, free), (_, _, _, _, others) = (
        sides if sides[0][0].terms else (sides[1], sides[0])
    )
    constant_first = value is sides[1][0]
    n_batch = len(batch)
    own_start = n_batch + (len(others) if constant_first else 0)
    other_start = n_batch if constant_first else n_batch + len(free)
    terms = []
    for term in value.terms:
        axes = [anonymous(size) for size in dims]
        for place, i in enumerate(batch):
            axes[place] = term.axes[i]
        for place, i in enumerate(free):
            axes[own_start + place] = term.axes[i]
        summed = tuple(a for i in contracting for a in term.axes[i])
        problem = term.problem
        if others and any(a.axis is not None and grows(a.size) for a in summed):
            problem = problem or (
                f"is contracted with a constant at {site.source}, over an axis that grows, before it meets data"
            )
        if others:
            for place in range(len(others)):
                axes[other_start + place] = summed or axes[other_start + place]
        terms.append(
            replace(
                term,
                axes=tuple(axes),
                statistic=term.statistic or (not others and any(a.axis is not None for a in summed)),
                problem=problem,
            )
        )
    return Value(dims, tuple(terms))


def _merged_tag(left: Tag, right: Tag) -> Tag:
    return Tag(left.uniform and right.uniform, left.sample or right.sample)


def _result_tag(value: Value, axis: int, keys: list | None) -> Tag:
    """Tag of a free axis in the result: the activation's own, or a new one that comes out of a parameter."""
    if keys is None:
        return value.tag(axis)
    copies = []
    for key, term in zip(keys, value.terms, strict=False):
        atoms = term.axes[axis]
        if len(atoms) == 1 and atoms[0].axis is not None:
            copies.append((key, atoms[0].axis, True))
    return Tag(copies=tuple(copies))
