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
    frames = list(source_info_util.user_frames(eqn.source_info.traceback))
    own = [frame for frame in frames if "site-packages" not in frame.file_name]
    frame = next(iter(own or frames), None)
    if frame is None:
        return UNKNOWN
    return f"{frame.file_name.rsplit('/', 1)[-1]}:{frame.start_line}"
