"""Which uses of parameters have statistics, and in which order."""

from __future__ import annotations

from collections.abc import Set

from mupwd.family.call import Call
from mupwd.tracing import TraceError
from mupwd.tracing.values import Location, Use


def measured_uses(call: Call, paths: Set[str]) -> list[tuple[str, Use]]:
    """Returns (path, use) for every use that `instrument` reports, in program order.

    Args:
      call: traced.
      paths: of the parameters.

    Raises:
      TraceError: a parameter goes through an operation that is not understood.
    """
    names = call.program.names
    found = [(names[use.param], use) for use in call.record.uses.values() if names[use.param] in paths]
    for path, use in found:
        if use.kind == "refused":
            raise TraceError(
                f"{path}: {use.problem}. Its uses cannot be followed from there: instrument a function whose "
                "parameter is what comes out of it"
            )
    strong = {use.group for _, use in found if not use.weak and use.group is not None}
    kept = [
        (path, use)
        for path, use in found
        # A mean over the rows of a product that is used as it is belongs to a norm.
        if not (use.weak and use.group in strong) and use.kind != "result" and evaluated(use.location)
    ]
    return sorted(kept, key=lambda pair: order(pair[1].location))


def evaluated(location: Location) -> bool:
    """Whether an equation can be recorded: not in a while loop's condition, not what a branch hands on."""
    return not {"out", "cond"}.intersection(location)


def order(location: Location) -> list[tuple[bool, int | str]]:
    """A sorting key that puts locations in program order."""
    return [(isinstance(part, str), part) for part in location]
