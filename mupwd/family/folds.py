"""Which parameters can take the factors that a plan's forward pass has: for `Plan.fold`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mupwd.plan.resolve import growth
from mupwd.tracing.decide import deciding, inside_branch
from mupwd.tracing.folding import Folded, fold, proportional
from mupwd.tracing.roles import RESIDUAL, Logits, Parameter, readout
from mupwd.tracing.trace import Program
from mupwd.tracing.values import Location, Record, Use


def with_folds(
    parameters: Mapping[str, Parameter],
    base: Program,
    delta: Program,
    record: Record,
    logits: Sequence[Logits],
) -> dict[str, Parameter]:
    """Returns the parameters with what can be folded into each; stated ones with whether a branch holds them.

    Args:
      parameters: of a family, in the order of the programs.
      base: the program at the base.
      delta: at the second width.
      record: of the walk over both.
      logits: of the family.
    """
    last = {
        number: max((_order(u.location) for u in record.uses.values() if u.param == number), default=())
        for number in range(len(base.names))
    }
    found = {
        path: replace(parameter, residual=parameter.residual or _held(number, record))
        for number, (path, parameter) in enumerate(parameters.items())
    }

    def note(folded: Folded, what: str) -> None:
        for number in folded.parameters:
            path = base.names[number]
            found[path] = replace(found[path], folds=(*found[path].folds, what))

    for number, (path, parameter) in enumerate(parameters.items()):
        if parameter.role != "output":
            continue
        uses = _decided(number, record)
        operands = {(use.location, slot) for use in uses for slot in use.operands}
        if not proportional(base, number, operands):
            found[path] = replace(found[path], altered=", ".join(dict.fromkeys(use.source for use in uses)))
            note(fold(base, results={use.location for use in uses}, last=last), readout(path))

    ends, inside = _branches(record)
    if ends:
        folded = fold(base, operands=ends, last=last)
        note(folded, RESIDUAL)
        if folded.problem:
            for number in folded.blamed or inside:
                path = base.names[number]
                found[path] = replace(found[path], unfoldable=folded.problem)

    for one in logits:
        if one.mixed:
            continue
        places = {
            location: product.size
            for location, product in record.products.items()
            if product.where == one.where
        }
        folded = fold(base, results=set(places), last=last)
        # The factor at a target is read off the parameters' own growth: it has to be head_dim's.
        ratios = {size[1] / size[0] for size in places.values()}
        own = [growth(found[base.names[p]], delta.shapes[p])[1] for p in folded.parameters]
        if len(ratios) == 1 and all(math.isclose(m, ratio) for m in own for ratio in ratios):
            note(folded, one.name)
    return found


def _branches(record: Record) -> tuple[set[tuple[Location, int]], list[int]]:
    """Ends of the branches that hold parameters, and the parameters that they hold."""
    ends: set[tuple[Location, int]] = set()
    held: dict[int, None] = {}
    for location, branch in record.branches.items():
        own = [
            use.param
            for use in record.uses.values()
            if any(use.location[:n] in branch.equations for n in range(1, len(use.location) + 1))
        ]
        if own:
            ends.add((location, branch.operand))
            held |= dict.fromkeys(own)
    return ends, list(held)


def _held(number: int, record: Record) -> bool:
    """Whether a parameter is used, and only inside residual branches."""
    uses = _decided(number, record)
    return bool(uses) and all(inside_branch(use, record) for use in uses)


def _decided(number: int, record: Record) -> list[Use]:
    """The uses of a parameter that say what its role is."""
    own = [(key, use) for key, use in record.uses.items() if use.param == number]
    return [use for _, use in deciding(own, record)]


def _order(location: Location) -> tuple[int, ...]:
    return tuple(i if isinstance(i, int) else -1 for i in location)
