"""Code in prose and types in signatures that name something of the reference are links to it.

Pages and docstrings write `mupwd.adamw`, `Family.plan` or `RunLog` as code, as GitHub and a terminal show it best.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

# `mupwd.adamw`, `Plan.explain(path)`: not `family` or `plan`, which are anybody's variables.
_NAME = re.compile(r"((?:mupwd|[A-Z]\w*)(?:\.\w+)*)(?:\(.*\))?", re.DOTALL)


def documented(env: BuildEnvironment, name: str) -> str | None:
    """Returns the full name of what the reference documents under a name, None where that is nothing or two things.

    Args:
      env: of the build.
      name: `mupwd.Plan`, `Plan`, or that of the module that defines it, `mupwd.plan.plan.Plan`.
    """
    objects = env.domains.python_domain.objects
    if name in objects:
        return name
    first, _, rest = name.partition(".")
    if first == "mupwd":
        # Where it is defined: the public name has the same end.
        rest = re.sub(r"^(?:[a-z_]+\.)*", "", rest)
        first = rest.partition(".")[0]
    if not first[:1].isupper():
        return None
    ends = [full for full in objects if full.endswith(f".{rest if name.startswith('mupwd.') else name}")]
    near = [full for full in ends if full.split(".")[:2] == name.split(".")[:2]] or ends
    return near[0] if len(near) == 1 else None


class CodeLinks(SphinxPostTransform):
    """Makes links of inline code."""

    # After references are resolved: what is inside of one stays as it is.
    default_priority = 20
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        domain = self.env.domains.python_domain
        for code in list(self.document.findall(nodes.literal)):
            match = _NAME.fullmatch(code.astext())
            if match is None or isinstance(code.parent, nodes.reference | nodes.title | pending_xref):
                continue
            full = documented(self.env, match[1])
            if full is None:
                continue
            entry = domain.objects[full]
            here = self.env.current_document.docname
            link = make_refnode(
                self.env._app.builder, here, entry.docname, entry.node_id, code.deepcopy(), full
            )
            code.replace_self(link)


def _type(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> Any | None:
    full = documented(env, node["reftarget"]) if node.get("refdomain") == "py" else None
    if full is None:
        return None
    entry = env.domains.python_domain.objects[full]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, full)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Registers both."""
    app.add_post_transform(CodeLinks)
    app.connect("missing-reference", _type)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
