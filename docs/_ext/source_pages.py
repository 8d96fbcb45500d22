"""Files outside of docs/ as pages: those that a page links to, and the modules that entries of the reference are from.

On GitHub a link such as ../examples/sweep.py opens the file; on the site, which has no repository to link to, it leads
to files/<path>.html.
"""

import importlib
import inspect
import posixpath
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers import guess_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.addnodes import desc_signature, download_reference, only, pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util.typing import ExtensionMetadata

# Files that a page of the site includes.
_PAGES = {"README.md": "index", "CHANGELOG.md": "changelog", "CONTRIBUTING.md": "contributing"}


class SourceLinks(SphinxTransform):
    """Turns MyST's downloads of files outside of docs/ into links."""

    # Before Sphinx collects the downloads.
    default_priority = 500

    def apply(self, **kwargs: Any) -> None:
        here = self.env.current_document.docname
        root = self.env.srcdir.parent
        # MyST takes a file that ends in .md for a page of the site, with an absolute name, and others for a download.
        for link in list(self.document.findall(lambda n: isinstance(n, download_reference | pending_xref))):
            if link.get("reftype") != "myst":
                continue
            is_page = isinstance(link, pending_xref)
            target = link["reftarget"]
            file = Path(f"{target}.md" if is_page else self.env.relfn2path(target, here)[1]).resolve()
            if file.is_relative_to(self.env.srcdir) or not file.is_relative_to(root) or not file.is_file():
                continue
            page = _PAGES.get(file.relative_to(root).as_posix())
            uri = f"{_relative(page, here)}.html" if page else _shown(self.env, here, file)
            link.replace_self(nodes.reference("", "", *link.children, internal=True, refuri=uri))


def _source_of_entries(app: Sphinx, doctree: nodes.document) -> None:
    """Adds to each entry of the reference a link to its line of the module it is from."""
    for signature in doctree.findall(desc_signature):
        if not signature.get("module") or not signature.get("fullname"):
            continue
        thing = importlib.import_module(signature["module"])
        for name in signature["fullname"].split("."):
            thing = getattr(thing, name, None)
        thing = getattr(thing, "fget", None) or getattr(thing, "func", None) or thing
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        file, (_, line) = Path(inspect.getfile(thing)), inspect.getsourcelines(thing)
        if not file.is_relative_to(app.srcdir.parent):
            continue
        uri = _shown(app.env, app.env.current_document.docname, file) + f"#line-{line}"
        text = nodes.inline("", "[source]", classes=["viewcode-link"])
        signature += only("", nodes.reference("", "", text, internal=True, refuri=uri), expr="html")


def _shown(env: BuildEnvironment, here: str, file: Path) -> str:
    """Has a file shown; returns the link to it."""
    path = file.relative_to(env.srcdir.parent).as_posix()
    _linked(env).setdefault(here, set()).add(path)
    env.note_dependency(file)
    return f"{_relative(f'files/{path}', here)}.html"


def _relative(page: str, here: str) -> str:
    return posixpath.relpath(page, posixpath.dirname(here) or ".")


def _linked(env: BuildEnvironment) -> dict[str, set[str]]:
    """The linked files' paths in the repository, by page."""
    if not hasattr(env, "mupwd_linked_files"):
        env.mupwd_linked_files = {}
    return env.mupwd_linked_files


def _purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _linked(env).pop(docname, None)


def _merge(app: Sphinx, env: BuildEnvironment, docnames: Any, other: BuildEnvironment) -> None:
    _linked(env).update({name: files for name, files in _linked(other).items() if name in docnames})


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    for path in sorted(set().union(*_linked(app.env).values())):
        text = (app.srcdir.parent / path).read_text()
        try:
            lexer = guess_lexer_for_filename(path, text).aliases[0]
        except ClassNotFound:
            lexer = "text"
        code = app.builder.highlighter.highlight_block(text, lexer, lineanchors="line")
        yield f"files/{path}", {"title": path, "body": f"<h1>{escape(path)}</h1>\n{code}"}, "page.html"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Registers the links and the pages."""
    app.add_transform(SourceLinks)
    app.connect("doctree-read", _source_of_entries)
    app.connect("env-purge-doc", _purge)
    app.connect("env-merge-info", _merge)
    app.connect("html-collect-pages", _pages)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
