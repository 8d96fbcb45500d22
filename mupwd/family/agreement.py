"""Whether what a model's metadata says agrees with what its program does."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from functools import partial

from mupwd.family.annotations import Annotation
from mupwd.paths import pattern_of
from mupwd.tracing.decide import Shapes
from mupwd.tracing.errors import TraceError
from mupwd.tracing.overrides import stated_parameter, words_of
from mupwd.tracing.roles import Parameter

_DOES = ("in", "out", "stack", "lookup", "elementwise")
_GROWS = {"grows": True, "fixed": False}


def check_axis_names(meanings: Mapping[str, str], annotated: Mapping[str, Annotation]) -> None:
    """Refuses meanings of axis names that cannot be read, and names that no parameter has.

    Raises:
      TraceError: names the entry, and what is expected.
    """
    words = (*_DOES, *_GROWS)
    known = sorted({name for one in annotated.values() for name in one.names if name is not None})
    for name, meaning in meanings.items():
        parts = meaning.split() if isinstance(meaning, str) else []
        for part in parts:
            if part not in words:
                near = difflib.get_close_matches(part, words, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise TraceError(f"axis_names[{name!r}]: {part!r} is not one of {', '.join(words)}{hint}")
        if not parts:
            raise TraceError(
                f"axis_names[{name!r}] is {meaning!r}; expected what the axis does, some of {', '.join(words)}, such "
                "as 'stack fixed'"
            )
        if name not in known:
            found = (
                f"the model has {', '.join(known)}" if known else "no parameter of the model has named axes"
            )
            raise TraceError(f"axis_names[{name!r}]: no axis has that name; {found}")


def described(
    shapes: Mapping[str, Shapes], annotated: Mapping[str, Annotation]
) -> dict[str, Callable[[], Parameter]]:
    """Returns, by path, what makes a parameter of the statement that is written on it; it raises TraceError."""
    return {
        path: partial(_from_statement, path, shapes[path], one)
        for path, one in annotated.items()
        if one.statement is not None and path in shapes
    }


def _from_statement(path: str, shape: Shapes, annotation: Annotation) -> Parameter:
    try:
        return stated_parameter(path, shape, annotation.statement)
    except TraceError as error:
        raise _unreadable(annotation, error) from None


def _unreadable(annotation: Annotation, error: TraceError) -> TraceError:
    return TraceError(
        f"{annotation.source} = {annotation.statement!r} cannot be read as an override: {error}"
    )


def check_agreement(
    parameters: Mapping[str, Parameter],
    shapes: Mapping[str, Shapes],
    annotated: Mapping[str, Annotation],
    meanings: Mapping[str, str],
    settled: Collection[str],
) -> None:
    """Compares the parameters of a program with what is written on them.

    Args:
      parameters: as the program has them.
      shapes: at both widths.
      annotated: what is written, by path.
      meanings: of axis names, as `check_axis_names` lets them pass.
      settled: paths that overrides state; they are not compared.

    Raises:
      TraceError: a contradiction; shows both.
    """
    for path, annotation in annotated.items():
        parameter = parameters.get(path)
        if parameter is None or path in settled or parameter.role == "unused":
            continue
        _check_names(parameter, shapes[path], annotation, meanings)
        _check_words(parameter, annotation)
        if annotation.statement is not None:
            _check_statement(parameter, shapes[path], annotation)


def _check_names(
    parameter: Parameter, shape: Shapes, annotation: Annotation, meanings: Mapping[str, str]
) -> None:
    for axis, (name, sizes) in enumerate(zip(annotation.names, shape.dims, strict=False)):
        for word in meanings.get(name or "", "").split():
            said = f"axis {axis} is named {name!r} ({annotation.source}), {word!r} in axis_names"
            if word in _GROWS:
                if _GROWS[word] != parameter.growing[axis]:
                    found = f"it has {sizes[0]} elements at the one width and {sizes[1]} at the other"
                    raise _contradiction(parameter, said, found)
            elif word not in parameter.axes[axis].split("+"):
                raise _contradiction(parameter, said, f"it is {parameter.axes[axis]!r} in the program")


def _check_words(parameter: Parameter, annotation: Annotation) -> None:
    for axis, (said, found) in enumerate(zip(annotation.words, parameter.axes, strict=False)):
        # An axis that does not grow has several readings, and none of them matters.
        if said is not None and parameter.growing[axis] and said not in found.split("+"):
            said = f"{annotation.source} says {' '.join(word or '?' for word in annotation.words)}"
            raise _contradiction(parameter, said, f"the program does {' '.join(parameter.axes)}")


def _check_statement(parameter: Parameter, shape: Shapes, annotation: Annotation) -> None:
    try:
        role, words = words_of(parameter.path, shape, annotation.statement)
    except TraceError as error:
        raise _unreadable(annotation, error) from None
    grown = [
        (set(said.split("+")) - {"stack"}, set(found.split("+")) - {"stack"})
        for said, found, grows in zip(words, parameter.axes, parameter.growing, strict=True)
        if grows
    ]
    if role not in (None, parameter.role) or any(said != found for said, found in grown):
        said = f"{annotation.source} says {annotation.statement!r}"
        raise _contradiction(
            parameter, said, f"the program makes it '{parameter.role}: {' '.join(parameter.axes)}'"
        )


def _contradiction(parameter: Parameter, said: str, found: str) -> TraceError:
    uses = f" ({'; '.join(parameter.uses)})" if parameter.uses else ""
    statement = f"{parameter.role}: {' '.join(parameter.axes)}"
    return TraceError(
        f"{parameter.path}: {said}, but {found}{uses}. Correct what is wrong, or settle it with "
        f"overrides={{{pattern_of(parameter.path)!r}: {statement!r}}}, or with other words"
    )
