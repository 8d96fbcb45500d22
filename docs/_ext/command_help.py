"""The directive `command-help`: what a subcommand of `mupwd` prints for `--help`, as it is now."""

import contextlib
import io
import os
from pathlib import Path
from unittest import mock

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

import mupwd.commands.main


class CommandHelp(SphinxDirective):
    """Takes the subcommand's name; without one, it is the help of `mupwd` itself."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        out = io.StringIO()
        # argparse wraps at the terminal's width, and newer ones colour.
        terminal = mock.patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"})
        with terminal, contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            mupwd.commands.main.main([*self.arguments, "--help"])
        for module in Path(mupwd.commands.main.__file__).parent.glob("*.py"):
            self.env.note_dependency(module)
        text = out.getvalue().strip()
        return [nodes.literal_block(text, text, language="none")]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Registers the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
