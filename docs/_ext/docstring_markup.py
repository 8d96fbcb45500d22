"""Docstrings are written as help() shows them best, in Markdown's few marks; Sphinx reads reStructuredText.

Code between single backticks, maths between dollars: both are translated before Sphinx parses a docstring.
"""

import re

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

_CODE = re.compile(r"(?<![`\w:])`([^`]+)`(?!`)")
_BLOCK = re.compile(r"^( *)\$\$(.+?)\$\$ *$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<![\w$`])\$([^$`]+)\$(?![\w$])")
_DOCTEST = re.compile(r"^ *>>> ")


def restructured(text: str) -> str:
    """Returns a piece of a docstring as reStructuredText.

    Args:
      text: without examples, in which nothing must change.

    Example:
      >>> print(restructured("`lr * wd` of `ShapeDtypeStruct`s, $m^{1/2}$"))
      ``lr * wd`` of ``ShapeDtypeStruct``\\ s, :math:`m^{1/2}`
    """
    # The end of reStructuredText's code must stand before a space or a mark.
    text = _CODE.sub(lambda m: f"``{_joined(m[1])}``" + ("\\ " if _letter(text, m.end()) else ""), text)
    text = _BLOCK.sub(lambda m: f"{m[1]}.. math:: {_joined(m[2])}", text)
    return _INLINE.sub(lambda m: f":math:`{_joined(m[1])}`", text)


def _joined(text: str) -> str:
    """In one line: what was broken is indented as its paragraph is."""
    return re.sub(r"\s*\n\s*", " ", text)


def _letter(text: str, position: int) -> bool:
    return text[position : position + 1].isalnum()


def _translate(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    pieces, example = [[]], False
    for line in lines:
        starts = bool(_DOCTEST.match(line))
        if (starts and not example) or (example and not line.strip()):
            example = starts
            pieces.append([])
        pieces[-1].append(line)
    texts = ["\n".join(piece) for piece in pieces]
    lines[:] = "\n".join(t if _DOCTEST.match(t) else restructured(t) for t in texts).split("\n")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Registers the translation, before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", _translate, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
