"""What Sphinx does not check of a built site: `python docs/check_site.py build/docs`.

Pages ask nothing of the network, links lead somewhere, and every public name has its entry in the reference.
"""

import importlib
import pkgutil
import posixpath
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.util.inventory import InventoryFile

import mupwd

# What a browser fetches by itself; an <a> waits for a reader.
_FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "embed": "src"}
_CSS = re.compile(r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)")


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if found.get(_FETCHED.get(tag, "")):
            self.fetched.append(found[_FETCHED[tag]])


def _pages(site: Path) -> dict[str, _Page]:
    """By path; templates that themes leave among their static files are none."""
    files = {file.relative_to(site).as_posix(): file for file in sorted(site.rglob("*.html"))}
    return {name: _Page(file.read_text()) for name, file in files.items() if not name.startswith("_static/")}


def of_the_network(site: Path) -> Iterator[str]:
    """Yields a line for each resource that a browser would fetch from another host.

    Args:
      site: directory of the built pages.
    """
    for name, page in _pages(site).items():
        for uri in page.fetched:
            if urlsplit(uri).netloc:
                yield f"{name}: a browser would fetch {uri}"
    for file in sorted(site.rglob("*.css")):
        for uri in _CSS.findall(file.read_text()):
            yield f"{file.relative_to(site)}: a browser would fetch {uri}"


def broken_links(site: Path) -> Iterator[str]:
    """Yields a line for each link or resource of a page that leads to no file, or to no place in it.

    Args:
      site: directory of the built pages.
    """
    pages = _pages(site)
    for name, page in pages.items():
        for uri in dict.fromkeys(page.links + page.fetched):
            parts = urlsplit(uri)
            if parts.scheme or parts.netloc:
                continue
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path)))
            target = path if parts.path else name
            if not (site / target).is_file():
                yield f"{name}: nothing is at {uri}"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                yield f"{name}: no such place in {target}: {uri}"


def public_names() -> dict[str, object]:
    """Returns `{name: what it is}` of everything in an `__all__` of mupwd or of one of its packages."""
    modules = [
        mupwd,
        *(importlib.import_module(f"mupwd.{m.name}") for m in pkgutil.iter_modules(mupwd.__path__)),
    ]
    return {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in modules
        for name in getattr(module, "__all__", ())
    }


def undocumented(documented: set[str]) -> Iterator[str]:
    """Yields a line for each public name without an entry; one entry is enough for what has several names.

    Args:
      documented: full names of the entries.
    """
    public = public_names()
    known = {id(thing) for name, thing in public.items() if name in documented}
    for name, thing in public.items():
        if id(thing) not in known:
            yield f"{name} is public and not in docs/reference"


def main(site: Path) -> int:
    """Prints what is wrong; returns the exit code.

    Args:
      site: directory of the built pages.
    """
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    documented = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    problems = [*of_the_network(site), *broken_links(site), *undocumented(documented)]
    print("\n".join(problems) or f"{site}: {len(_pages(site))} pages, every link leads somewhere")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
