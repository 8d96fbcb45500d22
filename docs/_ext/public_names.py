"""The directive `public-names`: a table of names of the current module, and the entry of each from its docstring."""

import importlib
import inspect

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata


class PublicNames(SphinxDirective):
    """Takes names, one a line, in the order that a reader meets them."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.env.ref_context["py:module"])
        names = [line.strip() for line in self.content if line.strip()]
        table = [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in names), ""]
        entries = [
            line for name in names for line in (f".. {_directive(getattr(module, name))}:: {name}", "")
        ]
        return self.parse_text_to_nodes("\n".join(table + entries))


def _directive(thing: object) -> str:
    if not inspect.isclass(thing):
        return "autofunction"
    return "autoexception" if issubclass(thing, Exception) else "autoclass"


def _skip(app: Sphinx, what: str, name: str, member: object, skip: bool, options: object) -> bool | None:
    """Leaves out a NamedTuple's fields, which its docstring describes and Python documents as aliases for numbers."""
    return True if type(member).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> ExtensionMetadata:
    """Registers the directive."""
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
