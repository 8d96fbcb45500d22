"""JSON as what it is meant to be: fields of the types that a dataclass states.

Nothing in a file is ever run or imported, and nothing is taken on trust: each value has the type of its field, or the
file is refused.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


def decoded(kind: type[_T], value: Any, where: str = "") -> _T:
    """Returns a value of JSON as an object of a type.

    Args:
      kind: a dataclass, str, bool, int, float, None, or a union, tuple or Literal of such.
      value: as JSON has it; tuples pass for lists.
      where: it stands, as "parameters[3].shape", for messages.

    Raises:
      ValueError: a value is missing, unknown or of another type; the message says where, expected and found.

    Example:
      >>> from mupwd.recipes import Powers
      >>> decoded(Powers, {"m_in": -1})
      Powers(m_in=-1.0)
    """
    return _decoded(kind, value, where)


def _decoded(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        (kind,) = (one for one in arguments if one is not NoneType)
        return _decoded(kind, value, where)
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise _unexpected(where, f"one of {', '.join(map(repr, arguments))}", value)
        return value
    if origin is tuple:
        return _tuple(arguments, value, where)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return kind(**fields_of(kind, value, where))
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
            raise _unexpected(where, "a finite number", value)
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _unexpected(where, {str: "a text", bool: "true or false", int: "an integer"}[kind], value)
    return value


def fields_of(kind: Any, value: Any, where: str = "", names: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the fields of a dataclass that a JSON object has, each of its type.

    Args:
      kind: the dataclass.
      value: the object.
      where: it stands, for messages.
      names: of some fields; others are then left alone. By default all, and no others.

    Raises:
      ValueError: as `decoded`.
    """
    if not isinstance(value, Mapping):
        raise _unexpected(where, f"an object ({kind.__name__})", value)
    known = {field.name: field for field in dataclasses.fields(kind) if not names or field.name in names}
    if unknown := [key for key in value if key not in known and not names]:
        raise ValueError(
            f"{_joined(where, str(unknown[0]))} is no field of {kind.__name__}, which has {', '.join(known)}"
        )
    types = get_type_hints(kind)
    found = {}
    for name, field in known.items():
        if name in value:
            found[name] = _decoded(types[name], value[name], _joined(where, name))
        elif field.default is dataclasses.MISSING:
            raise ValueError(f"{_joined(where, name)} is missing")
    return found


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _unexpected(where, "a list", value)
    if arguments[-1] is ...:
        arguments = arguments[:1] * len(value)
    elif len(value) != len(arguments):
        raise _unexpected(where, f"a list of {len(arguments)}", value)
    return tuple(
        _decoded(kind, one, f"{where}[{i}]")
        for i, (kind, one) in enumerate(zip(arguments, value, strict=True))
    )


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _joined(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _unexpected(where: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{where or 'it'}: expected {expected}, found {reprlib.repr(value)}")
