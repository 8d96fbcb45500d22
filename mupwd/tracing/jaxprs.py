"""Reads equations of a jaxpr the same way under every supported version of JAX."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from jax._src import source_info_util  # the public API does not give an equation's source line

UNKNOWN = "an unknown line"
# Call-like primitives name the jaxpr of their body differently.
_BODY_NAMES = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def body_of(eqn: Any) -> Any | None:
    """Returns the jaxpr, open or closed, of a call-like equation; None where there is none."""
    return next((eqn.params[name] for name in _BODY_NAMES if hasattr(eqn.params.get(name), "eqns")), None)


def opened(jaxpr: Any) -> tuple[Any, tuple[Any, ...]]:
    """Returns (open jaxpr, constants) of an open or a closed jaxpr."""
    return getattr(jaxpr, "jaxpr", jaxpr), tuple(getattr(jaxpr, "consts", ()))


def scan_counts(eqn: Any) -> tuple[int, int]:
    """Returns (number of constants, number of carried values) of a scan equation."""
    if "num_consts" in eqn.params:
        return eqn.params["num_consts"], eqn.params["num_carry"]
    consts, carry, _ = eqn.params["ft_in"].unpack()  # jax >= 0.12
    return len(consts), len(carry)


def written_as(eqn: Any) -> AbstractContextManager[Any]:
    """Context whose operations count as written where the equation was: in profiles, errors and later traces."""
    if source_line(eqn) == UNKNOWN:  # of a cached function: the call around it says more
        return nullcontext()
    stack = source_info_util.current_name_stack() + eqn.source_info.name_stack
    return source_info_util.user_context(eqn.source_info.traceback, name_stack=stack)


def source_line(eqn: Any) -> str:
    """Returns "file.py:12", the innermost line outside of installed packages where there is one."""
    frame, _ = _frames(eqn)
    return UNKNOWN if frame is None else _line(frame)


def source_place(eqn: Any) -> str:
    """Returns where on its source line an equation was written, "4-12", and by which line of a package, if by one.

    Several products may be written on one line, and a package's function called there may make several.
    """
    own, innermost = _frames(eqn)
    if own is None:
        return ""
    place = f"{own.start_column}-{own.end_column}"
    if innermost != own:
        place += f" {_line(innermost)}:{innermost.start_column}-{innermost.end_column}"
    return place


def _frames(eqn: Any) -> tuple[Any, Any]:
    """The innermost frame outside of installed packages, where there is one, and the innermost one."""
    frames = list(source_info_util.user_frames(eqn.source_info.traceback))
    innermost = next(iter(frames), None)
    return next((frame for frame in frames if "site-packages" not in frame.file_name), innermost), innermost


def _line(frame: Any) -> str:
    return f"{frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line}"
